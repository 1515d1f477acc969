"""A Hub client as people run it: ``python -m tests.bench.client REPO FOLDER`` downloads a snapshot.

It goes where ``HF_ENDPOINT`` says, and prints how many files it has then.
"""

import sys
from pathlib import Path

from huggingface_hub import snapshot_download

if __name__ == "__main__":
    where = snapshot_download(sys.argv[1], cache_dir=sys.argv[2])
    print(sum(path.is_file() for path in Path(where).rglob("*")))  # noqa: T201
