"""The whole mirror, as one process, against the scripted origin."""
