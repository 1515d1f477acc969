"""A local mirror for model hubs: each model is fetched once, checked, and served from disk."""

__version__ = "0.1.0"
