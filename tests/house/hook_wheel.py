"""``make hook-wheel``: writes the wheel of the start-up hook that a mirror of this version hands out."""

import sys
from pathlib import Path

from mirror.web.hookwheel import NAME, build


def main(folder: Path) -> None:
    """Write the wheel into *folder* and print where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(build())
    sys.stdout.write(f"{folder / NAME}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
