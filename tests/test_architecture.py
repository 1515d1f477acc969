"""The shape of the source: layers, purity, sizes, and what may lie where.

A contract that nobody has seen fail may well be one that cannot. So each contract of pyproject.toml
is held against the checkout, and then against a copy of it with one bad import at a time.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.house import checkout

ROOT: Final = checkout.ROOT
MAX_LINES: Final = 400  # a longer module has two subjects
# It is fetched, mounted and copied alone, so it has all of its subjects in one file.
ONE_FILE: Final = Path("mirror/hook/modelmirror_hook.py")

# Contract, the module that sins, and the import that the contract must catch.
BAD_IMPORTS: Final = (
    ("layers", "mirror/store/layout.py", "import mirror.index.catalog"),
    ("layers", "mirror/store/layout.py", "import mirror.cache.flights"),
    ("layers", "mirror/index/catalog.py", "import mirror.upstream.client"),
    ("layers", "mirror/cache/flights.py", "import mirror.web.app"),
    ("layers", "mirror/web/app.py", "import mirror.telemetry"),
    ("layers", "mirror/upkeep/evict.py", "import mirror.web.app"),
    ("layers", "mirror/cache/fills.py", "import mirror.upkeep.evict"),
    ("layers", "mirror/errors.py", "import mirror.names"),
    ("layers", "mirror/ranges.py", "import mirror.units"),
    ("layers", "mirror/utils.py", '"""Things that have no home."""'),
    ("hubs-are-pure", "mirror/hubs/base.py", "import asyncio"),
    ("hubs-are-pure", "mirror/hubs/base.py", "import os.path"),
    ("hubs-are-pure", "mirror/hubs/base.py", "from pathlib import Path"),
    ("hubs-are-pure", "mirror/hubs/base.py", "from time import time"),
    ("hubs-are-pure", "mirror/hubs/base.py", "from mirror.upstream import client"),
    ("hubs-are-pure", "mirror/names.py", "import socket"),
    ("protocol-not-hubs", "mirror/cache/pullthrough.py", "import mirror.hubs.registry"),
    ("protocol-not-hubs", "mirror/web/app.py", "from mirror.hubs import huggingface"),
    ("protocol-not-hubs", "mirror/hubs/base.py", "import mirror.hubs.huggingface"),
    ("bytes-are-timeless", "mirror/store/blobs.py", "import asyncio"),
    ("bytes-are-timeless", "mirror/index/catalog.py", "import mirror.clock"),
    ("hook-is-alone", "mirror/hook/modelmirror_hook.py", "import mirror.errors"),
    ("hook-is-alone", "mirror/hook/__init__.py", "from mirror.web import app"),
    ("hook-is-alone", "mirror/hook/modelmirror_hook.py", "import aiohttp"),
    ("telemetry-counts", "mirror/telemetry.py", "import asyncio"),
    ("ground-is-plain", "mirror/names.py", "import asyncio"),
    ("ground-is-plain", "mirror/digest.py", "import huggingface_hub"),
    ("settings-stop", "mirror/cache/pullthrough.py", "from mirror.config import Settings"),
    ("settings-stop", "mirror/web/app.py", "import mirror.config"),
    ("door-of-the-wire", "mirror/cache/fill.py", "import aiohttp"),
    ("door-of-the-database", "mirror/web/app.py", "import sqlite3"),
    ("door-of-the-database", "mirror/cache/facts.py", "import diskcache"),
    ("door-of-the-checksum", "mirror/web/body.py", "from zlib_ng import zlib_ng"),
    ("door-of-the-counters", "mirror/web/app.py", "import prometheus_client"),
    ("door-of-the-person", "mirror/web/app.py", "import click"),
    ("serve-without-the-client", "mirror/wiring.py", "import huggingface_hub"),
    ("serve-without-the-client", "mirror/store/blobs.py", "from huggingface_hub import HfApi"),
)

# What a fresh interpreter must not have loaded after importing every hub.
IMPURE: Final = (
    "aiofiles",
    "aiohttp",
    "asyncio",
    "click",
    "concurrent.futures",
    "diskcache",
    "http.client",
    "multiprocessing",
    "prometheus_client",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "urllib.request",
    "uvloop",
)

LOAD_HUBS: Final = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import mirror.hubs
for module in pkgutil.walk_packages(mirror.hubs.__path__, "mirror.hubs."):
    importlib.import_module(module.name)
print(*sorted(set(sys.argv[2:]) & set(sys.modules)))
"""

TOP_LEVEL: Final = {
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "config",
    "docker",
    "docs",
    "mirror",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
    "tests",
}

# Written in pieces, or this file would name them itself.
UNWANTED: Final = re.compile(
    "|".join(
        (
            r"py" + r"pi\.org",
            r"python" + r"hosted",
            r"registry\." + r"npm",
            r"(?:deb|snapshot|security)\." + r"debian",
            r"/" + r"work/(?:main|shared|steering)",
            r"/" + r"root/",
            r"/" + r"farm/",
        )
    )
)


def test_contracts_hold() -> None:
    """Every contract of pyproject.toml holds in the checkout."""
    report = _lint(ROOT)

    assert report.returncode == 0, report.stdout


def test_every_contract_has_a_bad_import() -> None:
    """No contract is taken on trust: each has an import below that it must catch."""
    tested = {contract for contract, _, _ in BAD_IMPORTS}

    assert {contract["id"] for contract in _contracts()} <= tested


@pytest.mark.parametrize(("contract", "module", "line"), BAD_IMPORTS)
def test_contract_catches_a_bad_import(contract: str, module: str, line: str, copy: Path) -> None:
    """One bad import breaks the contract that forbids it."""
    path = copy / module
    assert path.exists() or line.startswith('"""'), f"{module} has moved: name another sinner"
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}\n{line}\n")
    try:
        report = _lint(copy, "--contract", contract)
    finally:
        path.write_text(before) if before else path.unlink()

    assert report.returncode == 1, report.stdout
    assert "0 kept, 1 broken" in report.stdout


def test_hubs_are_pure_at_run_time() -> None:
    """Importing every hub loads nothing that could do I/O."""
    assert _loaded_by_hubs(ROOT) == []


def test_run_time_purity_sees_what_the_contracts_miss(copy: Path) -> None:
    """An import in a parent package, which the static graph does not follow, is seen."""
    package = copy / "mirror" / "__init__.py"
    before = package.read_text()
    package.write_text(f"{before}\nimport asyncio\n")
    try:
        report = _lint(copy, "--contract", "hubs-are-pure")
        loaded = _loaded_by_hubs(copy)
    finally:
        package.write_text(before)

    assert report.returncode == 0, report.stdout
    assert "asyncio" in loaded


def test_modules_are_short() -> None:
    """No module of the mirror is longer than one subject needs."""
    long = {
        str(path): lines
        for path, source in _modules()
        if path != ONE_FILE
        if (lines := len(source.splitlines())) > MAX_LINES
    }

    assert long == {}


def test_modules_introduce_themselves() -> None:
    """Every module of the mirror says what it is and why it exists."""
    silent = [str(path) for path, source in _modules() if not ast.get_docstring(ast.parse(source))]

    assert silent == []


def test_one_module_renames() -> None:
    """No module but mirror.store.durable renames by way of pathlib, which no linter bans."""
    renaming = [
        f"{path}:{node.lineno}"
        for path, source in _modules()
        if path != Path("mirror/store/durable.py")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in {"rename", "hardlink_to", "symlink_to"}
        or (node.func.attr == "replace" and len(node.args) == 1)
    ]

    assert renaming == []


def test_layers_are_drawn_as_they_are() -> None:
    """The picture in docs/contributing.md shows the layers of the contract, in their order."""
    (contract,) = (contract for contract in _contracts() if contract["id"] == "layers")
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    picture = page.partition("## The layers")[2].split("```")[1]
    drawn = [re.split(r"\s{2,}", line)[0] for line in picture.splitlines()[1:] if line.strip()]

    expected = [re.sub(r"[()]", "", layer) for layer in contract["layers"]]

    assert [re.sub(r"/|\.py", "", layer) for layer in drawn] == expected


def test_folders_of_tests_are_listed() -> None:
    """The table in docs/contributing.md has one row for each folder of tests."""
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    folders = {
        path.parts[1]
        for path in checkout.files()
        if path.parts[0] == "tests" and len(path.parts) > 2
    }

    assert sorted(re.findall(r"^\| `tests/(\w+)/` ", page, re.MULTILINE)) == sorted(folders)


def test_no_file_names_a_registry_or_a_machine() -> None:
    """No file tells where packages were fetched from, or where one machine keeps its things."""
    found = [
        f"{path}: {match[0]}"
        for path in checkout.files()
        if (match := UNWANTED.search((ROOT / path).read_text(encoding="utf-8", errors="replace")))
    ]

    assert found == []


@pytest.mark.parametrize("text", ["py" + "pi.org/simple", "/ro" + "ot/.cache", "/wo" + "rk/main"])
def test_unwanted_names_are_recognised(text: str) -> None:
    """The pattern of unwanted names matches them."""
    assert UNWANTED.search(text)


def test_top_level_holds_what_it_should() -> None:
    """The top of the checkout holds what the layout allows, and dotfiles."""
    top = {path.parts[0] for path in checkout.files()}

    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source and its contracts that a test may spoil and must mend."""
    top = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "pyproject.toml", top)
    shutil.copytree(ROOT / "mirror", top / "mirror", ignore=shutil.ignore_patterns("__pycache__"))
    return top


def _lint(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on *root*; its cache lies there too, so that copies do not share one."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [lint_imports, "--no-logo", *options],
        cwd=root,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _loaded_by_hubs(root: Path) -> list[str]:
    """Import every hub of *root* in an interpreter without site packages; list what is impure."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", LOAD_HUBS, root, *IMPURE],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.split()


def _contracts() -> list[dict[str, Any]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return contracts


def _modules() -> Iterator[tuple[Path, str]]:
    """Yield each module of the mirror with its source."""
    for path in sorted((ROOT / "mirror").rglob("*.py")):
        yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
