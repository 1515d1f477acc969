"""Settings for shells: every shell that is here reads back exactly what was meant."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from mirror.cli import shells
from mirror.cli.envfile import read_variables
from mirror.errors import ConfigError

NASTY: Final = {
    "PLAIN": "http://mirror:8090",
    "SPACES": "  two  words ",
    "QUOTES": """it's "quoted" `and` \u2018curly\u2019""",
    "DOLLARS": "$HOME ${HOME} $(id) $$ %PATH%",
    "SLASHES": "C:\\dir\\ \\' \\\\ end\\",
    "SIGNS": "!a #b ;c &d |e *f ?g ~h [i] {j} <k> =l",
    "EMPTY": "",
    "UNICODE": "Größe 模型",
}
LINES: Final = {"TWO_LINES": "one\ntwo\n"}
SHOW: Final = "import json,os,sys; print(json.dumps({n: os.environ[n] for n in sys.argv[1:]}))"


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh"])
def test_posix_shells_read_back_what_was_meant(shell: str) -> None:
    """`eval` in each POSIX shell sets every value exactly."""
    assert _run(shell, shells.sh(NASTY | LINES)) == NASTY | LINES


def test_fish_reads_back_what_was_meant() -> None:
    """Fish sources it and sets every value exactly, a PATH with colons too."""
    paths = {"PYTHONPATH": "/a b:/c'd"}

    assert _run("fish", shells.fish(NASTY | LINES | paths)) == NASTY | LINES | paths


def test_powershell_quotes_as_its_specification_says() -> None:
    """In single quotes only single quotes, straight and curly, mean anything, and are doubled."""
    text = shells.powershell({"A": "it's $x `y` \\ \u2018z\u2019 \u201b"})

    assert text == "$env:A = 'it''s $x `y` \\ \u2018\u2018z\u2019\u2019 \u201b\u201b'\n"


def test_powershell_reads_back_what_was_meant() -> None:
    """Where PowerShell is installed, it sets every value exactly; an empty one it unsets."""
    values = {name: value for name, value in (NASTY | LINES).items() if value}

    assert _run("pwsh", shells.powershell(values)) == values


def test_dotenv_files_read_back_what_was_meant(tmp_path: Path) -> None:
    """A dotenv file has what is not plain in single quotes, and doctor reads it so."""
    file = tmp_path / ".env"
    file.write_text(shells.dotenv(NASTY), encoding="utf-8")

    assert read_variables(file) == NASTY
    assert "PLAIN=http://mirror:8090\n" in file.read_text(encoding="utf-8")


def test_docker_files_have_values_as_they_are() -> None:
    """Docker takes everything behind the first = for the value; it knows no quotes."""
    lines = shells.docker(NASTY).splitlines()

    assert dict(line.split("=", 1) for line in lines) == NASTY


def test_compose_is_yaml_with_dollars_doubled() -> None:
    """A YAML reader and Compose's interpolation give every value back."""
    read = importlib.import_module("yaml").safe_load(shells.compose(NASTY | LINES))["environment"]

    assert {name: value.replace("$$", "$") for name, value in read.items()} == NASTY | LINES
    assert "$" not in "".join(read.values()).replace("$$", "")


@pytest.mark.parametrize("shell", ["dotenv", "docker"])
def test_files_of_lines_refuse_values_of_several(shell: str) -> None:
    """What cannot be written in a line is refused, with the name of the variable."""
    with pytest.raises(ConfigError, match="TWO_LINES has more than one line"):
        shells.FORMATS[shell](LINES)


def _run(shell: str, script: str) -> dict[str, str]:
    """The variables that *script* sets, as a program sees them that *shell* starts after it."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    names = " ".join(NASTY | LINES | {"PYTHONPATH": ""})
    call = f"& '{sys.executable}'" if shell == "pwsh" else f"'{sys.executable}'"
    show = SHOW.replace("os.environ[n]", "os.environ.get(n)")
    ran = subprocess.run(
        [program, "-c", f'{script}{call} -c "{show}" {names}'],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
    )
    read: dict[str, str | None] = json.loads(ran.stdout)
    return {name: value for name, value in read.items() if value is not None}
