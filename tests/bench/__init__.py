"""What the mirror costs, measured beside something bare: ``python -m tests.bench``."""
