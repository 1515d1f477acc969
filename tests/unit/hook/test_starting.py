"""The hook starts with every interpreter, costs nothing, and breaks nothing."""

import ast
import json
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

import mirror
from mirror.hook import FOLDER, modelmirror_hook
from tests.house.interpreters import OLDEST, interpreters
from tests.unit.hook.scripted import Program, Scripted

URL: Final = "http://127.0.0.1:9"
FILE: Final = FOLDER / "modelmirror_hook.py"
LOADED: Final = "import json, sys; print(json.dumps(sorted(sys.modules)))"
INTERPRETERS: Final = tuple(interpreters())


def test_oldest_python_can_read_it() -> None:
    """Nothing in the folder needs a newer language than Python 3.8's."""
    for path in FOLDER.glob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, OLDEST))


def test_newer_language_would_be_seen() -> None:
    """The check above knows what came after 3.8."""
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case 1: pass", feature_version=(3, OLDEST))


@pytest.mark.parametrize("python", INTERPRETERS, ids=lambda path: Path(path).name)
def test_every_interpreter_is_led(python: str, tmp_path: Path) -> None:
    """On each Python that is here urllib and pip are led, strict mode refuses, and a folder is checked."""
    (tmp_path / ".modelmirror.json").write_text('{"format": "modelmirror-cache", "version": 1}\n')
    with Scripted() as scripted:
        program = Program(url=scripted.url, python=python, variables={"MODELMIRROR_STRICT": "1"})
        url = "https://github.com/acme/tools/raw/main/x"
        (led,) = program.ask("urllib", url)
        (pip,) = program.ask("pip", url)
        (refused,) = program.ask("urllib", "https://github.com/")
        past = program.run("-c", "import socket; socket.getaddrinfo('huggingface.co', 443)")
        checked = program.run(str(FILE), "check", str(tmp_path))

    assert led["body"] == pip["body"] == "/-/host/github.com/acme/tools/raw/main/x"
    assert "MODELMIRROR_STRICT: github.com is not asked" in refused["text"]
    assert "MODELMIRROR_STRICT: huggingface.co is not asked" in past.stderr
    assert checked.returncode == 0, checked.stderr


def test_version_is_that_of_the_mirror() -> None:
    """The hook of a mirror has its version."""
    assert mirror.__version__ == modelmirror_hook.VERSION


def test_hook_without_a_mirror_loads_nothing() -> None:
    """With no variable set the interpreter has one small module more, and nothing waits for imports."""
    program = Program(url=None)
    plain = Program(url=None, hook=Path("/dev/null/nowhere"))

    assert set(program.said(LOADED)) - set(plain.said(LOADED)) == {"sitecustomize"}
    finders = "import json, sys; print(json.dumps([str(type(one)) for one in sys.meta_path]))"
    assert program.said(finders) == plain.said(finders)


@pytest.mark.parametrize("strict", ["", "1"])
def test_hook_loads_no_library(strict: str) -> None:
    """With a mirror set only the hook itself is loaded; every library still waits for its program."""
    program = Program(url=URL, variables={"MODELMIRROR_STRICT": strict})
    plain = Program(url=None, hook=Path("/dev/null/nowhere"))

    added = set(program.said(LOADED)) - set(plain.said(LOADED))
    assert added == {"sitecustomize", "modelmirror_hook", "__future__"}
    said = program.said("import json, modelmirror_hook as h; print(json.dumps(h.installed()))")
    assert set(said["modules"].values()) == {"waiting"}


def test_import_alone_does_nothing() -> None:
    """Importing the file as a module starts nothing: doctor and the tests do so."""
    code = (
        f"import sys, json; sys.path.insert(0, {str(FOLDER)!r}); before = list(sys.meta_path)\n"
        "import modelmirror_hook as hook\n"
        "print(json.dumps([sys.meta_path == before, hook.installed()['active']]))"
    )

    assert Program(url=URL, hook=Path("/dev/null/nowhere")).said(code) == [True, False]


def test_libraries_loaded_before_are_led() -> None:
    """Started late, as from a notebook, the hook leads what was imported already."""
    code = (
        "import json, os, sys, urllib.request, modelmirror_hook as hook\n"
        "assert not hook.installed()['active']\n"
        "os.environ['MODELMIRROR_URL'] = {!r}; hook.start(); hook.start()\n"
        "body = urllib.request.urlopen('https://huggingface.co/x').read().decode()\n"
        "said = hook.installed()\n"
        "print(json.dumps([body, said['modules']['urllib.request'], said['rewritten']]))"
    )
    with Scripted() as scripted:
        said = Program(url=None).said(code.format(scripted.url))

    assert said == ["/x", "patched", {"huggingface.co": 1}]


def test_reloaded_library_is_led_again() -> None:
    """A library that is imported a second time is led once: not twice, and not never."""
    code = (
        "import importlib, json, sys, urllib.request, modelmirror_hook as hook\n"
        "importlib.reload(urllib.request)\n"
        "body = urllib.request.urlopen('https://huggingface.co/x').read().decode()\n"
        "del sys.modules['urllib.request']; import urllib.request\n"
        "body += urllib.request.urlopen('https://huggingface.co/y').read().decode()\n"
        "print(json.dumps([body, hook.installed()['rewritten'], type(urllib.request.__loader__).__name__]))"
    )
    with Scripted() as scripted:
        said = Program(url=scripted.url).said(code)

    assert said == ["/x/y", {"huggingface.co": 2}, "SourceFileLoader"]


def test_library_is_patched_once() -> None:
    """Stopped and started again, the hook puts nothing around a library a second time."""
    code = (
        "import json, urllib.request as u, modelmirror_hook as hook\n"
        "first = u.OpenerDirector.open; hook.stop(); hook.start()\n"
        "print(json.dumps([u.OpenerDirector.open is first, hook.installed()['modules']['urllib.request']]))"
    )

    assert Program(url=URL).said(code) == [True, "patched"]


def test_stop_lets_everything_go() -> None:
    """A process that is a mirror itself stops the hook, and asks the hubs."""
    with Scripted() as proxy, Scripted() as scripted:
        code = (
            "import json, urllib.request as u, modelmirror_hook as hook\n"
            "hook.stop(); u.urlopen('http://huggingface.co/x').close(); print(json.dumps(1))"
        )
        variables = {"http_proxy": proxy.url, "MODELMIRROR_STRICT": "1"}
        Program(url=scripted.url, variables=variables).said(code)

    assert proxy.targets == ["http://huggingface.co/x"]
    assert scripted.seen == []


def test_next_sitecustomize_runs(tmp_path: Path) -> None:
    """The sitecustomize that the hook's stands in front of is run, under its name, and after the hook."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            "import sys\nFOUND = (__name__, __file__, 'modelmirror_hook' in sys.modules)\n"
        )
    code = "import json, sitecustomize; print(json.dumps(sitecustomize.FOUND))"

    said = Program(url=URL, path=[first, second]).said(code)

    assert said == ["sitecustomize", str(first / "sitecustomize.py"), True]
    assert Program(url=None, path=[first]).said(code)[2] is False


def test_next_sitecustomize_may_fail(tmp_path: Path) -> None:
    """What the next sitecustomize raises is reported as it would be without the hook; the hook works."""
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('theirs')\n")
    with Scripted() as scripted:
        program = Program(url=scripted.url, path=[tmp_path])
        (led,) = program.ask("urllib", "https://huggingface.co/x")
        done = program.run("-c", "")
    plain = Program(url=None, hook=tmp_path).run("-c", "")

    assert led["body"] == "/x"
    assert "RuntimeError: theirs" in done.stderr
    assert done.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]


@pytest.mark.parametrize("content", ["def broken(:", "raise OSError('no such thing')", ""])
def test_broken_hook_breaks_no_program(content: str, tmp_path: Path) -> None:
    """A hook that cannot be loaded is one line on standard error; strict mode then looks up no name."""
    for path in FOLDER.glob("*.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / FILE.name).write_text(content)
    program = Program(url=URL, hook=tmp_path)
    strict = Program(url=URL, hook=tmp_path, variables={"MODELMIRROR_STRICT": "yes"})

    done = program.run("-c", "print('started')")
    refused = strict.run("-c", "import urllib.request as u; u.urlopen('http://tfhub.dev/')")

    assert done.stdout == "started\n"
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(
        f"modelmirror: the start-up hook in {tmp_path} could not be loaded ("
    )
    assert "MODELMIRROR_STRICT: tfhub.dev is not asked, because the start-up hook" in refused.stderr


@pytest.mark.parametrize(
    "function", ["_spare_mirror() -> None:", "_wait(names: list[str]) -> None:"]
)
def test_failing_hook_breaks_no_program(function: str, tmp_path: Path) -> None:
    """Whatever goes wrong while the hook starts is one line on standard error."""
    done = Program(url=URL, hook=_sabotaged(tmp_path, function)).run("-c", "print('started')")

    assert done.stdout == "started\n"
    assert done.stderr.startswith(
        "modelmirror: the start-up hook failed (ZeroDivisionError: division by zero)"
    )
    assert len(done.stderr.splitlines()) == 1


def test_failing_hook_refuses_in_strict_mode(tmp_path: Path) -> None:
    """A hook that failed to start leads nothing, and strict mode refuses known hosts for that."""
    folder = _sabotaged(tmp_path, "_spare_mirror() -> None:")
    program = Program(url=URL, hook=folder, variables={"MODELMIRROR_STRICT": "1"})
    done = program.run("-c", "import socket; socket.getaddrinfo('tfhub.dev', 443)")

    assert (
        "MODELMIRROR_STRICT: tfhub.dev is not asked, because the start-up hook failed"
        in done.stderr
    )


def _sabotaged(folder: Path, function: str) -> Path:
    """A copy of the hook in *folder* in which *function* fails."""
    shutil.copy(FOLDER / "sitecustomize.py", folder)
    source = FILE.read_text(encoding="utf-8")
    assert f"def {function}\n" in source
    broken = source.replace(f"def {function}\n", f"def {function}\n    1 / 0\n")
    (folder / FILE.name).write_text(broken, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "url",
    ["mirror:8090", "ftp://mirror", "http://", "http://:80", "http://m:x", "me:secret@mirror"],
)
def test_address_that_is_none_is_said(url: str) -> None:
    """A MODELMIRROR_URL that cannot be used is one line on standard error, without what is secret in it."""
    done = Program(url=url).run("-c", "print('started')")

    assert done.stdout == "started\n"
    assert len(done.stderr.splitlines()) == 1
    assert "MODELMIRROR_URL is" in done.stderr
    assert "secret" not in done.stderr


def test_proxy_exceptions_are_kept() -> None:
    """The mirror is added to what NO_PROXY names, once, and only where a proxy is set."""
    code = "import json, os; print(json.dumps([os.environ.get('NO_PROXY'), os.environ.get('no_proxy')]))"
    proxy = {"https_proxy": "http://proxy:3128"}

    def said(**variables: str) -> object:
        return Program(url="http://Mirror:8090", variables=variables).said(code)

    assert said() == [None, None]
    assert said(**proxy) == ["mirror", "mirror"]
    assert said(**proxy, NO_PROXY="a, b") == ["a, b,mirror"] * 2
    assert said(**proxy, no_proxy="a,MIRROR") == ["a,MIRROR"] * 2
    assert said(**proxy, no_proxy="*") == ["*"] * 2


def test_report_says_what_happened(tmp_path: Path) -> None:
    """MODELMIRROR_HOOK_REPORT gets one line for each library and each host, of every process."""
    report = tmp_path / "report"
    with Scripted() as scripted:
        program = Program(url=scripted.url, variables={"MODELMIRROR_HOOK_REPORT": str(report)})
        program.ask(
            "urllib", "https://tfhub.dev/a/b/1?tf-hub-format=compressed", "https://huggingface.co/x"
        )
        program.ask("urllib", "https://huggingface.co/x", "https://huggingface.co/x")

    events = [json.loads(line) for line in report.read_text().splitlines()]
    for event in events:
        assert event.pop("pid") > 0
    assert events == [
        {"event": "patched", "module": "urllib.request"},
        {"event": "rewritten", "host": "tfhub.dev", "module": "urllib.request"},
        {"event": "rewritten", "host": "huggingface.co", "module": "urllib.request"},
        {"event": "patched", "module": "urllib.request"},
        {"event": "rewritten", "host": "huggingface.co", "module": "urllib.request"},
    ]


def test_self_test_names_every_library() -> None:
    """The script says of each library whether it is led, and exits by that."""
    done = Program(url=URL).run(str(FILE), "self-test", "--json")
    said = json.loads(done.stdout)
    unset = Program(url=None).run(str(FILE), "self-test")

    assert (done.returncode, said["active"], said["url"]) == (0, True, URL)
    assert {name for name, state in said["modules"].items() if state == "patched"} >= {
        "urllib.request",
        "pip._vendor.requests.sessions",
        "httpx2",
        "aiohttp",
    }
    assert set(said["modules"].values()) <= {"patched", "absent"}
    assert (unset.returncode, unset.stdout) == (
        0,
        "MODELMIRROR_URL is not set: nothing is led to a mirror.\n",
    )


def test_folder_holds_nothing_else() -> None:
    """Every module in the folder stands in front of one of the same name in other people's programs."""
    names = {path.name for path in FOLDER.iterdir()} - {"__pycache__"}

    assert names == {"__init__.py", "modelmirror_hook.py", "sitecustomize.py"}


def test_interpreters_are_tried() -> None:
    """At least the interpreter of the tests is among those that are tried."""
    assert any(f"python3.{sys.version_info.minor}" in python for python in INTERPRETERS)
