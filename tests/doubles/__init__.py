"""Doubles: real implementations of the project's protocols that do what a test tells them."""
