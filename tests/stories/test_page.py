"""Pages are read as a person reads them, and following one notices what is not as it says."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.elsewhere import Elsewhere
from tests.hosts import Hosts
from tests.origin import Origin
from tests.stories.desk import Desk, NotAsShownError
from tests.stories.page import Command, File, Stop, UnreadableError, lacking, read
from tests.stories.story import Story

PAGE = """\
# A story

The app is `app.py`:

```python
print("ready")
```

## Once

```console
$ python3 app.py
ready
$ python3 \\
    -c 'import sys; sys.exit("no")'
no
$ echo $?
1
```

## Twice

In a terminal of its own:

```console
$ word=up
$ echo $word; sleep 600
up
```

Press Ctrl-C there.
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An empty desk."""
    with Desk(tmp_path / "place") as made:
        yield made


@pytest.fixture
def upstream() -> Iterator[Elsewhere]:
    """Hosts that nobody asks."""
    with Origin() as origin, Hosts() as hosts:
        yield Elsewhere(origin, hosts)


def _story(text: str, desk: Desk, upstream: Elsewhere) -> Story:
    path = desk.place / "page.md"
    path.write_text(text)
    return Story(read(path), desk, upstream)


def test_page_is_read_as_steps(tmp_path: Path) -> None:
    """Files have their name before them, commands what they write below; Ctrl-C is pressed where told."""
    path = tmp_path / "page.md"
    path.write_text(PAGE)

    sections = read(path, {"ready": "set"}).sections

    assert sections["A story"] == (File(5, "app.py", 'print("set")\n'),)
    assert sections["Once"] == (
        Command(12, "python3 app.py", ("set",)),
        Command(14, "python3 \\\n    -c 'import sys; sys.exit(\"no\")'", ("no",)),
        Command(17, "echo $?", ("1",)),
    )
    assert sections["Twice"] == (
        Command(26, "word=up", (), own_terminal=True, opens=True),
        Command(27, "echo $word; sleep 600", ("up",), own_terminal=True, goes_on=True),
        Stop(31),
    )


def test_page_names_other_machines(tmp_path: Path, desk: Desk, upstream: Elsewhere) -> None:
    """From where one is named all happens there, until the next heading; it has its own home and shell."""
    block = "```console\n$ x=$x.{}; echo $x $HOME\n{}\n```\n"
    told = [
        block.format(*one)
        for one in ((1, ".1 …"), (2, ".2 …/alice/home"), (3, ".2.3 …"), (4, ".1.4 …"))
    ]
    path = desk.place / "page.md"
    path.write_text(
        f"# A story\n\n{told[0]}\nOn **alice**'s machine:\n\n{told[1]}\n{told[2]}\n## Back\n\n{told[3]}"
    )
    with Desk(tmp_path / "alice") as other:
        story = Story(read(path), desk, upstream, machines={"alice": other})
        story.to_the_end()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Look:\n\n```toml\na = 1\n```\n", "nobody can know"),
        ("```console\nwritten\n$ typed\n```\n", "begins with a command"),
        ("```console\n$ typed\n", "has no end"),
        ("# One\n# One\n", "already"),
    ],
)
def test_page_that_cannot_be_followed_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """What can neither be typed nor saved is no block that could be passed over."""
    path = tmp_path / "page.md"
    path.write_text(text)

    with pytest.raises(UnreadableError, match=why):
        read(path)


@pytest.mark.parametrize(
    ("shown", "written", "line"),
    [
        (["one", "two"], "one\nbetween\n two  \n", None),
        (["two", "one"], "one\ntwo\n", "one"),
        (["one"], "someone\n", "one"),
        (["took … s", "…", "end"], "took 3.2 s\nend\n", None),
        (["100 %"], "50 %\r100 %\r", None),
        (["a.b"], "axb\n", "a.b"),
    ],
)
def test_page_shows_what_must_be_written(shown: list[str], written: str, line: str | None) -> None:
    """Whole lines in their order; only `…` stands for any text."""
    assert lacking(shown, written) == line


def test_story_is_followed_to_its_end(desk: Desk, upstream: Elsewhere) -> None:
    """Files are saved, variables and exit codes stay, a terminal of its own runs on until Ctrl-C."""
    story = _story(PAGE, desk, upstream)

    assert story.to("Once").of("app.py") == "ready\n"
    story.to_the_end()
    assert not any(terminal.running for terminal in desk._terminals[1:])


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo one\ntwo", "did not write: two"),
        ("false", "ended with 1"),
        ("exit 3", "ended with 3"),
        ("kill -9 $BASHPID", f"ended with {-signal.SIGKILL}"),
    ],
)
def test_story_that_comes_out_otherwise_fails(
    desk: Desk, upstream: Elsewhere, command: str, why: str
) -> None:
    """A line that is not written and an exit code that nobody asks for are named with their place."""
    story = _story(f"# A story\n\n```console\n$ {command}\n```\n", desk, upstream)

    with pytest.raises(NotAsShownError, match=rf"(?s)page\.md:4: .*{why}"):
        story.to_the_end()


def test_story_in_a_terminal_of_its_own_must_go_on(desk: Desk, upstream: Elsewhere) -> None:
    """A server that ends at once has not started, whatever it wrote."""
    text = "In a terminal of its own:\n\n```console\n$ echo up; false\nup\nand on\n```\n"
    story = _story(f"# A story\n\n{text}", desk, upstream)

    with pytest.raises(NotAsShownError, match="did not write: and on"):
        story.to_the_end()


def test_desk_leaves_nothing_running(tmp_path: Path) -> None:
    """What was started in a terminal ends with the desk."""
    with Desk(tmp_path / "place") as desk:
        done = desk.run(desk.open(), Command(1, "sleep 600 & echo $!", ()))
        pid = int(done.written)
        assert _runs(pid)

    deadline = (
        time.monotonic() + 10
    )  # it has been killed, which is done when the kernel comes to it
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Tell whether a process is there and no mere entry that nobody has asked about."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(") ")[2][0] != "Z"
