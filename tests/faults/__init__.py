"""What goes wrong and what must hold all the same; docs/reliability.md lists it."""
