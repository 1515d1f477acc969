"""One upstream family each: pure functions over values, no I/O at all."""
