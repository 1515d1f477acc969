"""Pull-through: the reason the rest exists."""
