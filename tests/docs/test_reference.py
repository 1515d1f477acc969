"""What programs read is in the documents: events and keys of `--json`, `/health`, bundles, targets."""

import json
import re
import tarfile
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from mirror.targets import Kind, Target
from tests.house.checkout import ROOT
from tests.mirror.commands import environment, run
from tests.mirror.operating import order, told
from tests.mirror.running import Running
from tests.origin import Fault, Origin

#: What every event of these verbs has.
EVENTS: Final = {
    "event",
    "target",
    "file",
    "bytes",
    "total",
    "percent",
    "rate",
    "eta",
    "error",
    "next",
}


def _section(page: str, heading: str) -> str:
    """The text below *heading*, up to the next one of its level or above."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    level = heading.partition(" ")[0]
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, (page, heading)
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def _words(text: str) -> set[str]:
    """What stands as code in *text*, without its blocks."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`([^`]+)`", prose))


def _rows(section: str) -> dict[str, set[str]]:
    """The rows of the tables in *section*: by each word of code in the first cell, those of the others."""
    rows: dict[str, set[str]] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, *others = line.strip("| ").split(" | ")
            for word in _words(first):
                rows.setdefault(word, set()).update(_words(" ".join(others)))
    return rows


def _events(lines: str) -> dict[str, set[str]]:
    """The keys of each event in *lines*."""
    found: dict[str, set[str]] = {}
    for line in lines.splitlines():
        event = json.loads(line)
        found.setdefault(event["event"], set()).update(event)
    return found


def _keys(value: Any) -> Iterator[str]:
    """Every key of *value* that is ours: those of maps by hub, kind, or name are not."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            if key not in {"upstreams", "cached", "grants", "caches"}:
                yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """A hub with a public repo and a gated one."""
    with Origin() as running:
        running.tokens = {"tokenA": "alice"}
        files = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4096}
        running.add_repo("models", "acme/tiny", files={**files, "spare.bin": b"s" * 9999})
        running.add_repo("models", "acme/slow", files={"slow.bin": bytes(range(255)) * 9999})
        running.add_repo("models", "acme/gated", files=files, gated="auto", readers=["tokenA"])
        yield running


@pytest.fixture(scope="module")
def mirror(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A mirror that has some of it."""
    folder = tmp_path_factory.mktemp("mirror")
    with Running(folder / "data", origin, settings={"MODELMIRROR_QUOTA": "1GiB"}) as running:
        for path in ("config.json", "model.safetensors"):
            assert running.ask(f"/acme/tiny/resolve/main/{path}").status == 200
            assert running.ask(f"/acme/gated/resolve/main/{path}", token="tokenA").status == 200
        running.settle()
        assert order(running.data, "pin", "acme/tiny", "--for", "search").returncode == 0
        assert order(running.data, "grant", "acme/gated", "everyone").returncode == 0
        yield running


def _run(mirror: Running, verb: str, *words: str | Path) -> dict[str, set[str]]:
    done = order(mirror.data, verb, "--json", *map(str, words))
    assert done.stdout, done.stderr
    return _events(done.stdout)


def _all(*runs: Mapping[str, set[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in runs:
        for event, keys in one.items():
            found.setdefault(event, set()).update(keys)
    return found


def _differ(seen: Iterable[str], listed: Iterable[str]) -> tuple[list[str], list[str]]:
    """What is said and not listed, and what is listed and never said."""
    return sorted(set(seen) - set(listed)), sorted(set(listed) - set(seen))


# ── events ─────────────────────────────────────────────────────────────────────────────────────


def test_events_of_warm_and_check_are_listed(mirror: Running, origin: Origin) -> None:
    """Each event has its row, and no key comes that the page does not have."""
    rows = _rows(_section("warm.md", "## For programs"))
    origin.fault(Fault("drip", path=r"slow", rate=900_000, times=None))
    try:
        seen = _all(
            _run(mirror, "check", "acme/tiny", "acme/nope"),
            _run(mirror, "warm", "acme/tiny", "acme/nope"),
            _run(mirror, "warm", "acme/slow"),
        )
    finally:
        origin.clear_faults()
    assert _differ(seen, rows) == ([], [])
    shared = _rows(_section("native-caches.md", "## For programs"))
    for event, keys in seen.items():
        assert keys <= EVENTS | rows[event] | shared.get(event, set()), event
        assert keys >= EVENTS, event


def test_lines_of_a_warming_over_http_are_listed(mirror: Running, origin: Origin) -> None:
    """Each event and each key of ``POST /-/warm`` is on the page."""
    section = _section("warm.md", "## POST /-/warm")
    origin.add_repo("models", "acme/long", files={"slow.bin": bytes(range(253)) * 9999})
    origin.fault(Fault("drip", path=r"slow", rate=1_000_000, times=None))
    paths = ["long/resolve/main/slow.bin", "nope/resolve/main/x", "tiny/resolve/main/config.json"]
    try:
        lines = mirror.ask(
            "/-/warm",
            method="POST",
            headers={"Content-Type": "application/json"},
            body=json.dumps({"paths": [f"/acme/{path}" for path in paths]}).encode(),
        ).body.decode()
    finally:
        origin.clear_faults()
    seen = _events("\n".join(filter(str.strip, lines.splitlines())))
    assert seen.keys() == {"start", "progress", "file", "end"}
    listed = _words(section)
    assert {key for keys in seen.values() for key in keys} <= listed
    assert seen.keys() <= listed


def test_events_of_exported_caches_are_listed(mirror: Running, tmp_path: Path) -> None:
    """As above; the manifest of the folder has the keys that the page has."""
    section = _section("native-caches.md", "## For programs")
    rows = _rows(section)
    seen = _run(mirror, "export", "--format", "cache", tmp_path / "cache", "acme/tiny")
    assert seen.keys() | {"progress"} == rows.keys()
    for event, keys in seen.items():
        assert keys - EVENTS == rows[event] - EVENTS - {"error"}, event
    (file,) = (tmp_path / "cache").glob("*.json")
    manifest = json.loads(file.read_text(encoding="utf-8"))
    said = {*manifest, *manifest["targets"][0], *next(iter(manifest["files"].values()))}
    assert said <= _words(section)


def test_reports_of_bundles_are_listed(mirror: Running, origin: Origin, tmp_path: Path) -> None:
    """`export` and `import` say no key that has no row, and every one that has."""
    rows = _rows(_section("air-gap.md", "## For programs"))
    bundle = tmp_path / "bundle.tar"
    sent = _run(mirror, "export", bundle, "--all")
    with Running(tmp_path / "other", origin) as other:
        taken = _run(other, "import", "--allow-unsigned", bundle)
    seen = _all(sent, taken)
    assert seen.keys() == {"progress", "report"}
    assert seen["progress"] == {"event", "step", "done", "total", "rate", "eta"}
    listed = {*rows, *(words for row in rows.values() for words in row if words == "signed")}
    assert _differ(seen["report"] - {"event"}, listed) == ([], [])


def test_report_of_adopting_is_listed(mirror: Running, tmp_path: Path) -> None:
    """Each key of the report has a row."""
    rows = _rows(_section("adopt.md", "## For programs"))
    seen = _run(mirror, "adopt", "--dry-run", tmp_path)
    assert _differ(seen["report"] - {"event"}, rows) == ([], [])


def test_events_of_verify_are_listed(origin: Origin, tmp_path: Path) -> None:
    """Of a store with a damaged blob: each event has its row, with all of its fields."""
    rows = _rows(_section("reliability.md", "### Events of `--json`"))
    with Running(tmp_path / "data", origin) as own:
        assert own.ask("/acme/tiny/resolve/main/model.safetensors").status == 200
        own.settle()
    blob = max(
        (tmp_path / "data").glob("v1/blobs/sha256/*/*"), key=lambda path: path.stat().st_size
    )
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    done = run(
        "verify",
        str(tmp_path / "data"),
        "--data",
        "--repair",
        "--json",
        variables=environment(tmp_path),
    )
    seen = _events(done.stdout)
    assert seen.keys() == {"start", "progress", "finding", "lost", "end"}
    for event, keys in seen.items():
        assert keys - {"event"} <= rows[event], event


# ── what is told ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("status", ["status"]),
        ("ls", ["ls"]),
        ("ls REPO", ["ls", "acme/tiny"]),
        ("ls REPO@REVISION", ["ls", "acme/tiny@main"]),
        ("du", ["du"]),
        ("stats", ["stats"]),
        ("pin", ["pin"]),
        ("rm", ["rm", "acme/gated", "--dry-run"]),
        ("gc", ["gc", "--dry-run"]),
        ("grant", ["grant"]),
    ],
)
def test_keys_of_orders_are_listed(mirror: Running, row: str, words: list[str]) -> None:
    """What a verb says with --json are the keys of its row, and no others."""
    listed = _rows(_section("operating.md", "## For programs"))[row]
    assert set(_keys(told(mirror.data, *words))) - listed == set()


def test_fields_of_health_are_listed(mirror: Running, origin: Origin) -> None:
    """With a fill running and a target asked for: every field has a row, every row a field."""
    section = _section("monitoring.md", "## Health")
    origin.add_repo("models", "acme/held", files={"slow.bin": bytes(range(254)) * 9999})
    origin.fault(Fault("drip", path=r"slow", rate=200_000, times=None))
    try:
        with urllib.request.urlopen(f"{mirror.url}/acme/held/resolve/main/slow.bin") as got:  # noqa: S310
            got.read(1)
            told = mirror.ask("/health?target=acme/tiny").json()
    finally:
        origin.clear_faults()
    assert told["fills"]
    assert told["repos"]
    assert _differ(told, _rows(section)) == ([], [])
    assert set(_keys(told)) - _words(section) - {"models", "huggingface"} == set()


# ── bundles ────────────────────────────────────────────────────────────────────────────────────


def test_bundles_are_as_their_format_says(mirror: Running, tmp_path: Path) -> None:
    """Members in the order of the table, keys of the manifest, of a part and of what a receiver has."""
    page = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    whole = tmp_path / "bundle.tar"
    _run(mirror, "export", whole, "acme/tiny")
    with tarfile.open(whole) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json") or pytest.fail("no manifest"))
    kinds = [
        re.sub(r"[0-9a-f]{64}", "<sha256>", re.sub(r"/[0-9a-f]{2}/", "/ab/", name))
        for name in names
    ]
    members = list(_rows(_section("bundle-format.md", "## The file")))
    assert list(dict.fromkeys(kinds)) == [name for name in members if not name.endswith(".sig")]
    section = _section("bundle-format.md", "## The manifest")
    assert _differ(manifest, _rows(section)) == ([], [])
    inner = {*manifest["repos"][0], *manifest["repos"][0]["commits"][0]}
    assert inner <= _words(section)

    _run(mirror, "export", "--split", "300KB", tmp_path / "split.tar", "acme/tiny")
    part = (tmp_path / "split.tar.001").read_bytes()[:4096]
    assert part.endswith(b"\n")
    assert set(json.loads(part)) <= _words(_section("bundle-format.md", "## Parts"))
    held = json.loads(order(mirror.data, "manifest").stdout)
    (shown,) = re.findall(r'`(\{"format": "modelmirror-manifest".*?\})`', page)
    assert held.keys() == json.loads(shown.replace(", …", "")).keys()
    assert (held["format"], held["version"]) == ("modelmirror-manifest", 1)


# ── targets ────────────────────────────────────────────────────────────────────────────────────


def test_targets_are_those_of_the_table() -> None:
    """Each kind has its row, and each row, with what is in brackets and without, is a target of that kind."""
    shown = list(_rows(_section("native-caches.md", "## Targets")))
    kinds = set()
    for text in shown:
        for one in (re.sub(r"\[.*?\]", "", text), text.replace("[", "").replace("]", "")):
            written = one.replace("variation/version", "variation/1").replace(":ref", ":main")
            target = Target.parse(written)
            kinds.add(target.kind)
            assert Target.parse(str(target)) == target
    assert kinds == set(Kind)
