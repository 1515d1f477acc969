"""Carrying what a mirror has: taking clients' caches over, and writing them for places without a mirror."""
