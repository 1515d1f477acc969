"""One origin and one mirror under faults, and the audit that follows every test."""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.audit import Held, at_rest, damage, held, repair, traces, verified
from tests.faults.clients import Download, download, together
from tests.mirror.running import Running
from tests.origin import Origin, Repo
from tests.origin.log import Seen

MIB = 1 << 20
ALICE, BOB = "hf_canaryOfAlice4711", "hf_canaryOfBob4712"


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that no compression and no luck makes right."""
    return random.Random(seed).randbytes(size)


@dataclass
class Site:
    """The origin, the mirror before it, and what is asked of both."""

    origin: Origin
    mirror: Running
    before: Held = field(init=False)

    def __post_init__(self) -> None:
        self.note()

    def note(self) -> None:
        """Take the mirror's process as it is now for idle."""
        self.before = held(self.mirror)

    def restart(
        self, settings: Mapping[str, str] | None = None, before: tuple[str, ...] = ()
    ) -> None:
        """Stop the mirror if it runs, and start it with other settings."""
        if self.mirror.process.poll() is None:
            self.mirror.stop()
        self.mirror.settings = dict(settings or {})
        self.mirror.before = before
        self.mirror.start()
        self.note()

    def add(self, content: bytes, name: str = "acme/model", **more: object) -> Repo:
        """Publish one LFS file, ``model.bin``, in a repo."""
        return self.origin.add_repo(
            "models",
            name,
            files={"model.bin": content},
            lfs=("*.bin",),
            **more,  # type: ignore[arg-type]
        )

    def url(self, name: str = "acme/model", path: str = "model.bin") -> str:
        """Where a client fetches a file of a repo's main branch."""
        return f"{self.mirror.url}/{name}/resolve/main/{path}"

    def get(self, name: str = "acme/model", path: str = "model.bin", **how: object) -> Download:
        """One client's download; it sends a token, as clients do that have one, whatever they ask for."""
        headers = {"Authorization": f"Bearer {ALICE}", **(how.pop("headers", {}))}  # type: ignore[dict-item]
        return download(self.url(name, path), headers=headers, **how)  # type: ignore[arg-type]

    def eight(self, name: str = "acme/model") -> list[Download]:
        """Eight clients at once."""
        return together(8, lambda: self.get(name))

    def bodies(self) -> list[Seen]:
        """The CDN's GETs so far."""
        return self.origin.seen(server="cdn", method="GET")

    def blobs(self) -> list[str]:
        """The stored blobs but the empty one, which is always there."""
        folder = self.mirror.data / "v1" / "blobs"
        return sorted(path.name for path in folder.rglob("*") if _is_blob(path))

    def partials(self) -> list[Path]:
        """What is left of downloads that broke, and small files being written."""
        return sorted((self.mirror.data / "v1" / "partial").iterdir())

    def metric(self, name: str, labels: str = "") -> float:
        """The sum of a counter over the series whose labels hold *labels*."""
        text = self.mirror.ask("/-/metrics").body.decode()
        rows = re.findall(rf"^{name}(\{{[^}}]*\}})? ([0-9.e+]+)$", text, re.MULTILINE)
        return sum(float(value) for series, value in rows if labels in series)

    def log(self) -> str:
        """What the mirror wrote on standard error."""
        return self.mirror.log.read_text()

    def forgive_tracebacks(self) -> None:
        """Keep the tracebacks that a test provoked out of the audit."""
        self.mirror.log.write_text(self.log().replace("Traceback", "Provoked"))

    def mend(self) -> None:
        """Stop the mirror and have ``modelmirror verify --repair`` mend what the test left damaged."""
        self.mirror.stop()
        repair(self.mirror.data)

    def audit(self) -> None:
        """The invariants that hold after every fault; the mirror runs or was stopped by the test."""
        wrong = []
        if self.mirror.process.poll() is None:
            wrong += at_rest(self.mirror, self.before)
            self.mirror.stop()
        wrong += damage(self.mirror.data)
        wrong += verified(self.mirror.data)
        wrong += [f"{path.name} was left" for path in self.partials() if path.name[:4] == "new-"]
        files = [*self.mirror.data.rglob("*"), self.mirror.log]
        wrong += traces(files, (ALICE, BOB))
        wrong += traces([self.mirror.log], ("Signature=", "Traceback (most recent call last)"))
        assert not wrong, "\n".join(wrong)


@contextmanager
def site(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    *,
    program: tuple[str, ...] = ("-m", "mirror"),
    data: Path | None = None,
) -> Iterator[Site]:
    """A site with its data below *folder* (or in *data*), audited at the end."""
    with Origin() as origin:
        origin.tokens = {ALICE: "alice", BOB: "bob"}
        mirror = Running(data or folder / "data", origin, settings=settings or {}, program=program)
        with mirror:
            here = Site(origin, mirror)
            try:
                yield here
            except BaseException:
                mirror.process.kill()  # a mirror that hangs must not hang the run
                raise
            finally:
                origin.clear_faults()
            here.audit()


@contextmanager
def while_running(work: Callable[[], None]) -> Iterator[None]:
    """Have *work* done in a thread meanwhile, and wait for its end."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def wait_for(what: Callable[[], bool], patience: float = 10.0) -> None:
    """Wait until *what* holds; fails after *patience* seconds."""
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def _is_blob(path: Path) -> bool:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    return path.name != empty and not path.is_dir()
