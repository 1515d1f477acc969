"""Carrying what a mirror has to places without one."""
