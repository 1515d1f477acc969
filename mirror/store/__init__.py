"""Bytes on disk, named by what they are: layout, commit, room, partials and checked reads."""
