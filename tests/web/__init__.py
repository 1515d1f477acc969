"""The door over real sockets, on both event loops, against a scripted keeper."""
