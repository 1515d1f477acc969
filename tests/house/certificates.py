"""A certificate authority of the tests' own, made with the openssl command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CURVE: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, both PEM files."""

    certificate: Path
    key: Path


class Authority:
    """An authority that keeps what it makes in *folder*; *file* is its own certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = 0
        self.file = folder / "authority.pem"
        self._key = folder / "authority.key"
        _openssl(
            "req", "-x509", *_CURVE, "-nodes", "-days", "30", "-subj", "/CN=authority.test",
            "-keyout", self._key, "-out", self.file,
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def issue(
        self, name: str = "DNS:localhost", *, days: int = 30, pass_phrase: str = ""
    ) -> Issued:
        """Make a certificate for *name* (``DNS:…`` or ``IP:…``), valid for *days*, negative: expired."""
        self._count += 1
        stem = self._folder / f"issued-{self._count}"
        request, extra = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        made = Issued(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        locked = ("-passout", f"pass:{pass_phrase}") if pass_phrase else ("-nodes",)
        extra.write_text(f"subjectAltName={name}\nbasicConstraints=CA:FALSE\n")
        _openssl(
            "req", "-new", *_CURVE, *locked, "-subj", f"/CN=issued {self._count}",
            "-keyout", made.key, "-out", request,
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key,
            "-CAcreateserial", "-days", str(days), "-extfile", extra, "-out", made.certificate,
        )  # fmt: skip
        return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
