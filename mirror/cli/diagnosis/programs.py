"""Programs that are no Python: nothing leads them here but what they are told themselves."""

import shutil
from collections.abc import Iterator

from mirror.cli.address import Address


def other_programs(address: Address, path: str | None) -> Iterator[tuple[str, str]]:
    """Name each such program on *path* (as in PATH), with what to tell it."""
    url = address.url
    insecure = "--insecure " if address.scheme == "http" else ""
    says = {
        "ollama": f"ollama pull {insecure}{address.netloc}{address.path}/library/NAME",
        "curl": f"curl -LO {url}/-/host/HOST/PATH",
        "wget": f"wget {url}/-/host/HOST/PATH",
        "aria2c": f"aria2c {url}/-/host/HOST/PATH",
        "git": f"git clone {url}/OWNER/REPO",
        "uv": f"uv pip install --find-links {url}/-/spacy/files/ MODEL",
    }
    for program, line in says.items():
        if shutil.which(program, path=path):
            yield program, line
