"""Tests of the mirror; what each folder holds is told in docs/contributing.md."""
