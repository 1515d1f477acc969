"""The scripted origin: a hub, its CDN and its Xet content store in a thread of the test process."""

import asyncio
import random
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.origin.cas import Cas
from tests.origin.cdn import Cdn
from tests.origin.content import Source
from tests.origin.faults import Armed, Fault, Faults
from tests.origin.hub import Hub
from tests.origin.log import Log, Seen
from tests.origin.repos import Access, Files, Repo, Shelf, changed, lfs_patterns
from tests.origin.server import Handler, Host
from tests.origin.world import World

_T = TypeVar("_T")
# Below the range from which the kernel takes ports of outgoing connections, so that no connection
# of another process sits on a port while the origin is stopped.
_ports = (18_000, 32_000)
_wait = 60


class Origin:
    """An upstream in the Hub's shape, on three hosts: ``url``, ``cdn_url`` and ``cas_url``.

    Use it as a context manager, or call ``start`` and ``close``. ``folder`` keeps its data (a
    temporary folder, removed by ``close``, if None); ``port`` fixes the port of the hub.
    """

    def __init__(self, folder: Path | None = None, port: int = 0) -> None:
        self._wanted_folder = folder
        self._wanted_port = port
        self._folder: Path | None = None
        self._world: World | None = None
        self._log = Log()
        self._faults = Faults()
        self._hosts: dict[str, Host] = {}
        self._bound: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running = False

    # -- life -------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start serving; after a ``stop`` on the same ports as before."""
        if self._running:
            return
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="origin", daemon=True
            )
            self._thread.start()
        world = self._state()
        if not self._hosts:
            handlers: dict[str, Handler] = {
                "hub": Hub(world).handle,
                "cdn": Cdn(world).handle,
                "cas": Cas(world).handle,
            }
            self._hosts = {
                name: Host(name, handler, self._log, self._faults)
                for name, handler in handlers.items()
            }
        for name, host in self._hosts.items():
            wanted = self._wanted_port if name == "hub" else 0
            sockets, port = _bind(self._bound.get(name, wanted))
            self._bound[name] = port
            self._run(host.listen(sockets))
        world.hub_url = f"http://127.0.0.1:{self._bound['hub']}"
        world.cdn_url = f"http://localhost:{self._bound['cdn']}"
        world.cas_url = f"http://localhost:{self._bound['cas']}"
        self._running = True

    def stop(self, *, reset: bool = False) -> None:
        """Close the listeners and every connection (by RST if ``reset``); the data stays."""
        if not self._running:
            return
        self._running = False
        for host in self._hosts.values():
            self._run(host.close(reset=reset))

    def close(self) -> None:
        """Stop for good and remove what was kept on disk."""
        self.stop()
        if self._loop is not None and self._thread is not None:
            self._run(self._loop.shutdown_asyncgens())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_wait)
            self._loop.close()
            self._loop = None
        if self._folder is not None and self._wanted_folder is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _run(self, work: Coroutine[object, object, _T]) -> _T:
        if self._loop is None:
            work.close()
            message = "the origin is closed"
            raise RuntimeError(message)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_wait)

    def _state(self) -> World:
        if self._world is None:
            self._folder = self._wanted_folder or Path(tempfile.mkdtemp(prefix="origin-"))
            self._world = World(Shelf(self._folder))
        return self._world

    # -- addresses --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Base URL of the hub."""
        return self._state().hub_url

    @property
    def cdn_url(self) -> str:
        """Base URL of the CDN."""
        return self._state().cdn_url

    @property
    def cas_url(self) -> str:
        """Base URL of the Xet content store."""
        return self._state().cas_url

    @property
    def redirect_hosts(self) -> list[str]:
        """``host:port`` of the hosts that the hub sends clients to."""
        return [self.cdn_url.removeprefix("http://"), self.cas_url.removeprefix("http://")]

    # -- repos ------------------------------------------------------------------------------------

    def add_repo(  # noqa: PLR0913  a repo has many traits, all but two optional
        self,
        kind: str,
        name: str,
        files: Mapping[str, Source] | None = None,
        *,
        lfs: Sequence[str] | Callable[[str], bool] = lfs_patterns,
        xet: bool = True,
        private: bool = False,
        gated: bool | str = False,
        readers: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        refs: Mapping[str, Files] | None = None,
        renamed_from: Iterable[str] = (),
        info: Mapping[str, object] | None = None,
    ) -> Repo:
        """Add a repo of one of the kinds models, datasets, spaces and kernels.

        ``lfs`` are patterns of paths (or a rule) kept in LFS, like everything above 10 MiB; ``xet``
        puts those in Xet, too. ``tags`` maps tag to revision. ``refs`` maps a ref or branch to
        files laid over main (over nothing for ``refs/convert/…``). ``info`` is merged into the
        description.
        """
        shelf = self._state().shelf
        repo = shelf.add(kind, name, lfs=lfs, xet=xet)
        repo.access = Access(private, gated, frozenset(readers))
        repo.info = dict(info or {})
        repo.push(files or {}, "initial commit")
        for ref, changes in (refs or {}).items():
            repo.push(changes, f"Update {ref}", ref)
        for tag, revision in (tags or {}).items():
            self.tag(repo, tag, revision)
        shelf.publish(repo, renamed_from)
        return repo

    def tag(self, repo: Repo, tag: str, revision: str = "main") -> None:
        """Set (or move) a tag to where ``revision`` points now; KeyError if that leads nowhere."""
        commit = repo.resolve(revision)
        if commit is None:
            raise KeyError(revision)
        repo.point({f"refs/tags/{tag}": commit.oid})

    def repo(self, kind: str, name: str) -> Repo:
        """Return the repo of this kind and (current or former) name; KeyError if there is none."""
        found = self._state().shelf.find(kind, name)
        if found is None:
            raise KeyError(name)
        return found.repo

    def delete_repo(self, repo: Repo) -> None:
        """Take a repo away, with every name that led to it; the CDN still has its contents."""
        self._state().shelf.remove(repo)

    def rename(self, repo: Repo, name: str) -> None:
        """Rename a repo; its old name redirects."""
        self._state().shelf.rename(repo, name)

    def set_access(
        self,
        repo: Repo,
        *,
        private: bool | None = None,
        gated: bool | str | None = None,
        readers: Iterable[str] | None = None,
        disabled: bool | None = None,
    ) -> None:
        """Change who may read a repo; what is not given stays."""
        given = None if readers is None else frozenset(readers)
        repo.access = changed(
            repo.access, private=private, gated=gated, readers=given, disabled=disabled
        )

    def revoke(self, token: str, repo: Repo) -> None:
        """Take a token off the readers of a repo."""
        self.set_access(repo, readers=repo.access.readers - {token})

    @property
    def tokens(self) -> dict[str, str]:
        """Valid tokens and the users they stand for."""
        return self._state().tokens

    @tokens.setter
    def tokens(self, tokens: Mapping[str, str]) -> None:
        self._state().tokens = dict(tokens)

    # -- lifetimes and sizes ----------------------------------------------------------------------

    @property
    def page_size(self) -> int:
        """Entries per page of a tree (never more than 50 when expanded)."""
        return self._state().page_size

    @page_size.setter
    def page_size(self, size: int) -> None:
        self._state().page_size = size

    @property
    def signed_url_lifetime(self) -> float:
        """Seconds that a signed URL of the CDN or of a xorb is good for; 0: none at all."""
        return self._state().signed_url_lifetime

    @signed_url_lifetime.setter
    def signed_url_lifetime(self, seconds: float) -> None:
        self._state().signed_url_lifetime = seconds

    @property
    def xet_token_lifetime(self) -> float:
        """Seconds that a Xet read token is good for."""
        return self._state().xet_token_lifetime

    @xet_token_lifetime.setter
    def xet_token_lifetime(self, seconds: float) -> None:
        self._state().xet_token_lifetime = seconds

    def expire_signed_urls(self) -> None:
        """Let every URL and Xet token that was signed so far be refused from now on."""
        self._state().signer.renew()

    # -- what was seen, and what goes wrong -------------------------------------------------------

    @property
    def log(self) -> list[Seen]:
        """Every request in the order of arrival."""
        return self._log.read()

    def seen(
        self, server: str | None = None, method: str | None = None, path: str | None = None
    ) -> list[Seen]:
        """Return the requests that fit; ``path`` is a regex searched in the raw target."""
        return self._log.matching(server, method, path)

    def clear_log(self) -> None:
        """Forget the requests seen so far."""
        self._log.clear()

    def fault(self, fault: Fault) -> Armed:
        """Let something go wrong; the ``hits`` of what is returned count the requests spoiled."""
        return self._faults.arm(fault)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._faults.clear()


def _bind(port: int) -> tuple[list[socket.socket], int]:
    """Return sockets bound to one port of 127.0.0.1 and, where there is IPv6, of ::1."""
    chosen = random.Random()
    for _ in range(200):
        number = port or chosen.randrange(*_ports)
        sockets: list[socket.socket] = []
        try:
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                try:
                    one = socket.socket(family, socket.SOCK_STREAM)
                except OSError:
                    continue
                sockets.append(one)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    one.bind((host, number))
                except OSError:
                    if family == socket.AF_INET or _has_ipv6():
                        raise
                    sockets.pop().close()
        except OSError:
            for one in sockets:
                one.close()
            if port:
                raise
            continue
        return sockets, number
    message = "no free port"
    raise OSError(message)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
