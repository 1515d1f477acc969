"""The public tests of HTTP caches (http-tests/cache-tests), run before a mirror with a generic test hub.

The package depends on npm itself, for its scripts alone; ``package.json`` puts a small package in its place.
"""
