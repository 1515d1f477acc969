"""What keeps the checkout in order: read by `make`, not by the mirror."""
