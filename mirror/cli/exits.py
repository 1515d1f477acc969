"""Exit codes: one table, for the commands and for the documentation."""

from typing import Final

from mirror.errors import ConfigError, MirrorError, StoreUnusableError

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2  # click's own code for a wrong flag; a wrong setting is the same mistake
UNCHECKED: Final = 3
STORE: Final = 4
ADDRESS: Final = 5
NO_MIRROR: Final = 69  # sysexits(3): a service is unavailable; low codes are the command's own
NOT_EXECUTABLE: Final = 126  # as shells have it, and so has the next
NOT_FOUND: Final = 127

EXITS: Final = {
    OK: "Everything was done.",
    FAILED: "Something failed; the message says what. From `verify`: something is damaged. From `adopt`:"
    " something was refused. From `check`: something is missing. From `import`: the bundle was"
    " refused. From `doctor`: something is wrong, or a client does not use the mirror.",
    USAGE: "A flag or a setting cannot be used.",
    UNCHECKED: "From `verify`: the store, or a part of it, could not be checked. From `doctor`: the mirror"
    " does not answer, so no client was tried.",
    STORE: "The data folder cannot be used: not writable, held by another process, or of another version.",
    ADDRESS: "The address cannot be listened on.",
    NO_MIRROR: "From `run`: the mirror does not answer; the command was not started.",
    NOT_EXECUTABLE: "From `run`: the command cannot be run.",
    NOT_FOUND: "From `run`: there is no such command.",
}


def exit_code(error: MirrorError) -> int:
    """Choose the exit code for a refusal."""
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, StoreUnusableError):
        return STORE
    return FAILED
