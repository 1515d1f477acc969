"""Variables of a file: .env files, and what a Dockerfile sets."""

from pathlib import Path

import pytest

from mirror.cli.envfile import read_variables
from mirror.errors import ConfigError


def test_dotenv_files_are_read_as_their_readers_do(tmp_path: Path) -> None:
    """Comments, export, quotes, variables of earlier lines, and those that are passed on."""
    file = tmp_path / ".env"
    file.write_text(
        "# where models are\n"
        "\n"
        "BASE=/app/models   # here\n"
        "export HF_HOME=${BASE}/.cache\n"
        'TORCH_HOME="$BASE/torch #1"\n'
        "LITERAL='$BASE'\n"
        'ESCAPED="a \\"b\\" \\$BASE"\n'
        "UNKNOWN=$NOWHERE/x\n"
        "EMPTY=\n"
        "PASSED_ON\n"
        "PLAIN=/a#b # comment\n"
    )

    assert read_variables(file) == {
        "BASE": "/app/models",
        "HF_HOME": "/app/models/.cache",
        "TORCH_HOME": "/app/models/torch #1",
        "LITERAL": "$BASE",
        "ESCAPED": 'a "b" $BASE',
        "UNKNOWN": "$NOWHERE/x",
        "EMPTY": "",
        "PLAIN": "/a#b",
    }


def test_dockerfiles_give_the_variables_of_their_last_stage(tmp_path: Path) -> None:
    """Both forms of ENV, continued lines, and nothing of an earlier stage."""
    file = tmp_path / "Dockerfile"
    file.write_text(
        "FROM python:3.11 AS build\n"
        "ENV HF_HUB_OFFLINE=1\n"
        "FROM python:3.11-slim\n"
        "ENV HF_HOME=/app/.cache \\\n"
        "    # of the old transformers\n"
        '    TRANSFORMERS_CACHE="/app/my models"\n'
        "env XDG_CACHE_HOME /app/x y\n"
        "ENV TORCH_HOME=$HF_HOME/torch\n"
        "RUN pip install x\n"
    )

    assert read_variables(file) == {
        "HF_HOME": "/app/.cache",
        "TRANSFORMERS_CACHE": "/app/my models",
        "XDG_CACHE_HOME": "/app/x y",
        "TORCH_HOME": "/app/.cache/torch",
    }


@pytest.mark.parametrize("text", ["HF HOME\n", "- A\n", "1A=b\n", "FROM x\nENV A='b\n"])
def test_files_that_are_no_variables_are_refused(tmp_path: Path, text: str) -> None:
    """With the file's name, and the line's number where there is one."""
    file = tmp_path / "bad"
    file.write_text(text)

    with pytest.raises(ConfigError, match="bad"):
        read_variables(file)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A missing one, and one that is no text."""
    with pytest.raises(ConfigError, match="cannot be read"):
        read_variables(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"A=\xff\xfe")
    with pytest.raises(ConfigError, match="no text"):
        read_variables(tmp_path / "binary")
