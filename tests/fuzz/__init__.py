"""Targets of the fuzzer: each module has `check`, which must hold for every input, and `SEEDS`."""
