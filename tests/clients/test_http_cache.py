"""The public tests of HTTP caches: what they say of the mirror's engine and door is what was recorded.

They are no conformance suite, but whoever changes what one of them sees should know. The mirror runs with a
generic test hub (`tests.clients.http_cache.hub`): the real ones ask for no general freshness. What is not
there for them is not tested here: revalidation of kept replies, invalidation by writes, 5xx passed on.

``MODELMIRROR_TEST_RECORD=1 make test-clients CLIENT=http_cache`` writes the record anew.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.clients.available import client, program
from tests.clients.http_cache.front import front
from tests.mirror.running import Running

_HERE: Final = Path(__file__).parent / "http_cache"
_RECORD: Final = _HERE / "recorded.json"


@dataclass
class _Tested:
    """The tests' own server, in the place of an origin."""

    port: int
    url: str = field(init=False)
    redirect_hosts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"


@contextmanager
def _server(node: str, modules: Path) -> Iterator[_Tested]:
    command = [node, str(_HERE / "server.mjs"), str(modules)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield _Tested(int(process.stdout.readline()))
        finally:
            process.terminate()


def test_outcome_of_every_test_is_the_recorded_one(tmp_path: Path) -> None:
    """None of the tests has another outcome than before, for better or worse."""
    node = program("node", "nodejs")
    modules = client("http-cache").path
    with (
        _server(node, modules) as server,
        Running(tmp_path / "data", server, program=("-m", "tests.clients.http_cache")) as mirror,
        front(mirror.address, ("127.0.0.1", server.port)) as url,
    ):
        done = subprocess.run(
            [node, "--no-warnings", str(_HERE / "run.mjs"), str(modules), url],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, dict[str, Any]] = json.loads(done.stdout)
    outcomes = {name: f"{one['kind']} {one['outcome']}" for name, one in sorted(told.items())}
    if os.environ.get("MODELMIRROR_TEST_RECORD"):
        summary = dict(sorted(Counter(outcomes.values()).items()))
        _RECORD.write_text(json.dumps({"summary": summary, "tests": outcomes}, indent=1) + "\n")
    recorded = json.loads(_RECORD.read_text())["tests"]
    changed = {
        name: (recorded.get(name), outcomes.get(name), told.get(name, {}).get("why"))
        for name in recorded.keys() | outcomes.keys()
        if recorded.get(name) != outcomes.get(name)
    }
    assert changed == {}
