"""`docker`, as far as a page types it: images are built by buildah, and a container is a chroot.

A program of its own, for a page's commands are typed into a shell. What the test knows stands in the file
that `ENGINE` names: where the builder's storage is, and what every container and build gets besides, in the
place of an index of packages and of the real upstream.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from tests.shipped.compose import Project
from tests.shipped.images import PATH, Builder, Container


def main() -> None:
    """Run one command."""
    told = json.loads(Path(os.environ["ENGINE"]).read_text(encoding="utf-8"))
    builder = Builder(Path(told["builder"]))
    words = sys.argv[1:]
    if words[:2] == ["image", "inspect"]:
        words = ["inspect", *words[2:]]
    verb, *rest = words
    {"build": _build, "compose": _compose, "history": _history, "inspect": _inspect, "run": _run}[
        verb
    ](builder, told, rest)


def _build(builder: Builder, told: dict[str, Any], words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="docker build")
    parser.add_argument("-f", dest="file", type=Path, required=True)
    parser.add_argument("-t", dest="name", required=True)
    parser.add_argument("--build-arg", action="append", default=[])
    parser.add_argument("--network", choices=["host"], required=True)
    parser.add_argument("--no-cache", action="store_true")  # no layer is kept here, ever
    parser.add_argument("context", type=Path)
    asked = parser.parse_args(words)
    flags = [*asked.build_arg, f"BASE={told['base']}"]
    try:
        builder.build(
            asked.name,
            asked.file.resolve(),
            asked.context.resolve(),
            *(word for flag in flags for word in ("--build-arg", flag)),
            *(word for one in told["volumes"] for word in ("--volume", ":".join(one))),
        )
    except AssertionError as error:
        sys.exit(str(error))


def _run(builder: Builder, told: dict[str, Any], words: list[str]) -> NoReturn:
    parser = argparse.ArgumentParser(prog="docker run")
    parser.add_argument("--rm", action="store_true", required=True)
    parser.add_argument("--network", choices=["none"])
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--tmpfs", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args(words)
    image = builder.image(asked.image)
    container = Container(
        image,
        builder.root(image),
        volumes=[(Path(outside), inside, access) for outside, inside, access in told["volumes"]],
        temporary=asked.tmpfs,
        command=asked.command or None,
        network=asked.network != "none",
    )  # its root is read-only with and without the flag, for images are shared here
    sys.exit(subprocess.run(container.arguments(), env={"PATH": PATH}, check=False).returncode)


def _compose(builder: Builder, told: dict[str, Any], words: list[str]) -> None:
    """Run one service in the foreground, as `compose up SERVICE` does; its name is before its lines."""
    parser = argparse.ArgumentParser(prog="docker compose")
    parser.add_argument("-f", dest="file", type=Path, required=True)
    parser.add_argument("up", choices=["up"])
    parser.add_argument("service")
    asked = parser.parse_args(words)
    project = Project(
        asked.file,
        builder,
        builder.image(told["mirror"]),
        int(told["port"]),
        Path(told["project"]),
        dict(os.environ),
        {asked.service: told["settings"]},
    )
    running = subprocess.Popen(
        project.container(asked.service).arguments(),
        env={"PATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, lambda *_: running.terminate())
    signal.signal(signal.SIGTERM, lambda *_: running.terminate())
    assert running.stdout is not None
    for line in running.stdout:
        sys.stdout.write(f"{asked.service}-1  | {line}")
        sys.stdout.flush()
    sys.exit(running.wait())


def _inspect(builder: Builder, _told: dict[str, Any], words: list[str]) -> None:
    json.dump([dict(builder.image(words[0]).config)], sys.stdout, indent=4)


def _history(builder: Builder, _told: dict[str, Any], words: list[str]) -> None:
    assert words[0] == "--no-trunc"
    for step in builder.image(words[1]).history:
        sys.stdout.write(f"{step.get('created_by', '')}\n")


if __name__ == "__main__":
    main()
