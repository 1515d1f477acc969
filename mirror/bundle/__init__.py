"""Carrying what a mirror has: taking caches over, and writing them."""
