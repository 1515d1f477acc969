"""The README and the tutorial, typed as they stand there, from a clone to a warm and locked mirror."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.elsewhere import Elsewhere
from tests.house.checkout import ROOT
from tests.stories.page import Command
from tests.stories.story import Story

_BERT = {"config.json": b'{"model_type": "bert"}', "vocab.txt": b"[PAD]\n[UNK]\n"}


@pytest.fixture(scope="module")
def published(upstream: Elsewhere) -> None:
    """Two repos with the files of those that the page names, in all the formats that they have."""
    dice = random.Random(9)
    pooling = json.dumps([{"path": ""}, {"path": "1_Pooling"}]).encode()
    upstream.origin.add_repo(
        "models",
        "sentence-transformers/all-MiniLM-L6-v2",
        {
            **_BERT,
            "modules.json": pooling,
            "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
            "model.safetensors": dice.randbytes(3 << 20),
            "pytorch_model.bin": dice.randbytes(3 << 20),
            "tf_model.h5": dice.randbytes(1 << 20),
            "rust_model.ot": dice.randbytes(1 << 20),
            "onnx/model.onnx": dice.randbytes(1 << 20),
        },
    )
    upstream.origin.add_repo(
        "models",
        "google/bert_uncased_L-2_H-128_A-2",
        {**_BERT, "README.md": b"# BERT\n", "pytorch_model.bin": dice.randbytes(1 << 20)},
    )


def _clone(folder: Path) -> None:
    """What git would bring into *folder*, with the environment that `make serve` would make there."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "Makefile", "pyproject.toml", "*.lock", "mirror/__init__.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
        os.utime(folder / name, (1, 1))  # older than the environment, so that make finds it made
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)


@pytest.fixture(scope="module")
def story(published: None, follow: Callable[..., Story]) -> Story:
    """The page, before a clone in which the mirror is set up."""
    del published
    story = follow("../tutorial.md")
    _clone(story.desk.folder)
    return story


def test_readme_leads_to_a_download_from_the_disk(
    published: None, follow: Callable[..., Story]
) -> None:
    """Its first command, and what it has people type next: the second download asks upstream for nothing."""
    del published
    first = follow("../../README.md")
    _clone(first.desk.folder)
    serve = Command(0, "make serve", ("modelmirror listening on …",), own_terminal=True)
    first.desk.open()
    first.desk.run(first.desk.open(), serve)
    told = first.to("Two commands")
    assert [done.code for _, done in told.commands] == [0, 0, 0, 0]
    asked = [one for one in told.asked if one.startswith("GET hub ")]
    assert len([one for one in asked if one.endswith("/model.safetensors")]) == 1
    first.desk.stop()


def test_tutorial_downloads_once(story: Story) -> None:
    """The colleague's download asks upstream for no byte of the file."""
    told = story.to("Download something, twice")
    asked = [one for one in told.bodies if one.startswith("GET hub ")]
    assert len([one for one in asked if one.endswith("/model.safetensors")]) == 1


def test_tutorial_warms_only_what_is_read(story: Story) -> None:
    """No other format of the weights is fetched, and nothing that was here already."""
    told = story.to("Warm it")
    names = {one.partition("?")[0].rpartition("/")[2] for one in told.bodies if " hub " in one}
    assert names == {"vocab.txt", "modules.json", "config.json", "pytorch_model.bin"}


def test_tutorial_serves_without_a_network(story: Story) -> None:
    """With the plug pulled nobody upstream is asked, and what is missing is named."""
    told = story.to("Pull the plug")
    assert told.asked == ()
    assert "openai/whisper-tiny" in told.of("hf download openai/whisper-tiny")


def test_tutorial_is_followed_to_its_end(story: Story) -> None:
    """Every block of the page was typed or saved, and did what the page shows."""
    story.to_the_end()


def test_tutorial_takes_ten_minutes(story: Story) -> None:
    """At 200 words a minute, and 15 seconds a command or file, it is read and typed in that time."""
    words = len(story.page.path.read_text(encoding="utf-8").split())
    commands = sum(len(steps) for steps in story.page.sections.values())
    assert words / 200 + commands / 4 <= 10
