"""A compose file played with one chroot after the other, for want of an engine.

What of the Compose Specification our files use, and nothing else: a key that is not known here fails, so that
no file can promise what was not played. All services share the network of this machine, but those of the mode
"none"; the name and port of the mirror are made those where it listens here.
"""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from tests.shipped.images import Builder, Container, Image

_KNOWN: Final = frozenset(
    {
        "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image",
        "network_mode", "ports", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs",
        "volumes",
    }
)  # fmt: skip
_VARIABLE: Final = re.compile(r"\$(?:\$|\{(\w+):-([^}]*)\})")
_NOBODY: Final = 10001


class NotStartedError(Exception):
    """A service did not start, for what it depends on did not come; the text says which."""


@dataclass
class Project:
    """The services of *file*, before images and volumes of *builder*.

    *said* are variables of the person who types, *more* those added to a service for the test, *mounts* what
    is mounted besides. Folders of the host are looked for in *folder*.
    """

    file: Path
    builder: Builder
    image: Image
    port: int
    folder: Path
    said: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    mounts: Mapping[str, tuple[Path, str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the file."""
        tree = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        self.services: dict[str, dict[str, Any]] = self._filled(tree["services"])
        self._named = set(tree.get("volumes") or ())
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.ended: dict[str, subprocess.CompletedProcess[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            process.terminate()
            process.wait(timeout=40)
            if process.stdout is not None:
                process.stdout.close()

    def up(self, name: str) -> subprocess.CompletedProcess[str]:
        """Start what *name* depends on as it asks, then *name*, and wait for its end.

        Raises `NotStartedError` where one of them did not come.
        """
        for other, how in (self.services[name].get("depends_on") or {}).items():
            condition = how["condition"]
            if condition == "service_healthy":
                self._healthy(other)
            elif condition == "service_completed_successfully":
                if self.up(other).returncode != 0:
                    raise NotStartedError(f"{name}: {other} did not complete successfully")
            else:
                raise AssertionError(condition)
        self.ended[name] = self.container(name).run()
        return self.ended[name]

    def container(self, name: str) -> Container:
        """How the service *name* is run."""
        service = self.services[name]
        assert set(service) <= _KNOWN, set(service) - _KNOWN
        return Container(
            self.image,
            self.builder.root(self.image),
            {k: str(v) for k, v in service.get("environment", {}).items()}
            | dict(self.more.get(name, {})),
            [*self._volumes(service), *([self.mounts[name]] if name in self.mounts else [])],
            temporary=service.get("tmpfs", ()),
            entrypoint=service.get("entrypoint"),
            command=service.get("command"),
            read_only=service.get("read_only", False),
            network=service.get("network_mode") != "none",
        )

    def _healthy(self, name: str) -> None:
        """Start *name*, and wait until its check of health is passed."""
        if name in self._running:
            return
        container = self.container(name)
        with (self.builder.folder / f"{name}.log").open("ab") as log:
            self._running[name] = container.start(log)
        check = self.services[name]["healthcheck"]["test"]
        assert check[0] == "CMD"
        deadline = time.monotonic() + 60
        while container.run(check[1:]).returncode != 0:
            assert time.monotonic() < deadline, f"{name} is not healthy"
            assert self._running[name].poll() is None, f"{name} has ended"

    def volume(self, name: str) -> Path:
        """Where a named volume is; a fresh one belongs to the image's user, as its folder there does."""
        path = self.folder / f"volume-{name}"
        if not path.exists():
            path.mkdir(mode=0o755)
            os.chown(path, _NOBODY, _NOBODY)
        return path

    def _volumes(self, service: Mapping[str, Any]) -> list[tuple[Path, str, str]]:
        found = []
        for text in service.get("volumes", ()):
            outside, inside, *access = text.split(":")
            assert outside in self._named or outside.startswith("./"), outside
            path = self.volume(outside) if outside in self._named else self.folder / outside
            found.append((path, inside, access[0] if access else "rw"))
        return found

    def _filled(self, tree: Any) -> Any:
        """Put variables, and the mirror's address, in their places."""
        if isinstance(tree, dict):
            return {key: self._filled(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self._filled(value) for value in tree]
        if isinstance(tree, str):
            text = _VARIABLE.sub(
                lambda m: "$" if m[1] is None else self.said.get(m[1], "") or m[2], tree
            )
            return text.replace("//mirror:8090", f"//127.0.0.1:{self.port}")
        return tree
