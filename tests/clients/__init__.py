"""The mirror against real clients: the libraries and programs that people point at it."""
