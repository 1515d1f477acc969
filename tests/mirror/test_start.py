"""What a start does not do: what nobody asked for yet is neither imported nor read."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from mirror.bundle.adoptjobs import Adoptions
from mirror.bundle.bundlejobs import Bundles
from mirror.bundle.parts import Parts
from mirror.bundle.works import Works

# A server as `modelmirror serve` makes one, which tells what it had to import, and whom aiohttp would trust.
SERVE: Final = """
import asyncio, json, ssl, sys
from pathlib import Path
import mirror.cli.serve
import mirror.upstream.lean
import mirror.wiring
from mirror.cli.settings import read

async def serve():
    settings = read({"data": Path(sys.argv[1]), "port": 0, "offline": True}, None).settings
    async with mirror.wiring.Mirror(settings):
        return sorted(sys.modules)

modules = asyncio.run(serve())
from aiohttp import connector
contexts = (connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED)
print(json.dumps({
    "modules": modules,
    "read_by_aiohttp": [context.cert_store_stats()["x509_ca"] for context in contexts],
    "refuses": contexts[0].verify_mode == ssl.CERT_REQUIRED and contexts[0].check_hostname,
    "inherited": "set_default_verify_paths" not in vars(ssl.SSLContext),
}))
"""

# Of each subject that a server may never need, the module that the others of it are imported by.
LATER: Final = {
    "aiofiles",
    "huggingface_hub",
    "mirror.bundle.adopt",
    "mirror.bundle.bundleexport",
    "mirror.bundle.bundleimport",
    "mirror.bundle.exporting",
    "mirror.bundle.planning",
    "mirror.web.hookwheel",
    "zipfile",
}


def _served(folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(folder)], capture_output=True, text=True, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_start_imports_what_serving_needs(tmp_path: Path) -> None:
    """A server imports neither the client libraries nor what carries out orders that nobody gave."""
    served = _served(tmp_path / "data")

    assert "mirror.web.pump" in served["modules"]
    assert not LATER.intersection(served["modules"])


def test_start_reads_no_authorities_for_aiohttp(tmp_path: Path) -> None:
    """The contexts that nothing of ours uses stay empty, and so refuse; ours can be read after them."""
    served = _served(tmp_path / "data")

    assert served["read_by_aiohttp"] == [0, 0]
    assert served["refuses"]
    assert served["inherited"]


def test_works_name_their_orders_before_they_are_imported() -> None:
    """The orders that a server takes are those that the works carry out."""
    parts = cast("Parts", SimpleNamespace())

    named = set(Works(parts).orders)

    assert named == {*Adoptions(parts).orders, *Bundles(parts).orders}


def test_version_imports_no_more_than_the_command_line() -> None:
    """What words errors, reads settings or serves is imported when there is need of it."""
    script = (
        "import sys, mirror.cli; print(*sorted(m for m in sys.modules if m.startswith('mirror')))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert told.stdout.split() == ["mirror", "mirror.cli"]
