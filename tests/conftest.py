"""What every test may ask for; fixtures of one folder live in that folder's own conftest.py."""
