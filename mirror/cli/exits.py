"""Exit codes: one table, for the commands and for the documentation."""

from typing import Final

from mirror.errors import ConfigError, MirrorError, StoreUnusableError

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2  # click's own code for a wrong flag; a wrong setting is the same mistake
UNCHECKED: Final = 3
STORE: Final = 4
ADDRESS: Final = 5

EXITS: Final = {
    OK: "Everything was done.",
    FAILED: (
        "Something failed; the message says what. From `verify`: something is damaged; from `adopt`:"
        " something was refused."
    ),
    USAGE: "A flag or a setting cannot be used.",
    UNCHECKED: "From `verify`: the store, or a part of it, could not be checked.",
    STORE: "The data folder cannot be used: not writable, held by another process, or of another version.",
    ADDRESS: "The address cannot be listened on.",
}


def exit_code(error: MirrorError) -> int:
    """Choose the exit code for a refusal."""
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, StoreUnusableError):
        return STORE
    return FAILED
