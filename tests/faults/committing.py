"""``python -m tests.faults.committing FOLDER``: bring two blobs into a store, as a fill does.

It is killed at one system call after the other, started again, and must then succeed.
"""

import sys
from pathlib import Path

from tests.unit.store.commit_and_die import commit

if __name__ == "__main__":
    commit(Path(sys.argv[1]) / "data")
