"""Keeping house: eviction, sweeps, the scrub, and the checking of a store by its operator."""
