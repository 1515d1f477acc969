"""What runs in the client's own Python, Python 3.8 and newer: it imports nothing of the rest.

The folder comes first on that Python's path, so nothing else may lie in it.
"""
