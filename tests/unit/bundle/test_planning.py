"""Plans of what a mirror tells, where it tells something else than it should."""

import json
from typing import Any

import pytest

from mirror.bundle.choosing import chosen
from mirror.bundle.endpoint import Endpoint, Head
from mirror.bundle.places import Places
from mirror.bundle.planning import Planner
from mirror.errors import MirrorError
from mirror.targets import Target

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = {"type": "file", "path": "a", "size": 1, "oid": COMMIT}


class Told(Endpoint):
    """An endpoint that tells *answers* in order."""

    def __init__(self, *answers: Any) -> None:
        super().__init__("http://mirror")
        self._answers = list(answers)

    def document(self, target: str, *, restricted: bool = False) -> tuple[Head, bytes]:
        """The next answer."""
        del target, restricted
        answer = self._answers.pop(0)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return Head(200, {}), body

    def json(self, target: str, *, restricted: bool = False) -> tuple[Head, Any]:
        """The next answer."""
        head, body = self.document(target, restricted=restricted)
        return head, json.loads(body)


def plan(target: str, *answers: Any) -> object:
    """The plan of *target* from these answers."""
    return Planner(Told(*answers), Places({}, "/x"), chosen, real=False).plan(
        Target.parse(target), ""
    )


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("a/b", ([],)),
        ("a/b", ({"sha": "main"},)),
        ("a/b", ({"sha": COMMIT}, {"error": "x"})),
        ("a/b", ({"sha": COMMIT}, [{"path": "a"}])),
        ("a/b", ({"sha": COMMIT}, [FILE | {"oid": "x"}])),
        ("a/b", ({"sha": COMMIT}, [FILE | {"path": "../a"}])),
        ("a/b", ({"sha": COMMIT}, [FILE | {"path": "a/\x1b"}])),
        ("a/b", ({"sha": COMMIT}, [FILE | {"lfs": {"oid": "x"}}])),
        ("a/b", ({"sha": COMMIT}, [])),
        ("kaggle:a/b/c/d/1", ([],)),
        ("kaggle:a/b/c/d/1", ({"files": [{"path": "x"}]},)),
        ("kaggle:a/b/c/d/1", ({"files": [{"name": "../x"}]},)),
        ("nltk:x", (b'<package id="x" url="https://h/x.zip" />',)),
        ("nltk:x", (b'<package id="x" subdir="../.." url="https://h/x.zip" />',)),
        ("spacy:x_y", (b"<a href=nothing>",)),
    ],
)
def test_what_a_mirror_tells_is_understood_or_refused(
    target: str, answers: tuple[Any, ...]
) -> None:
    """In a sentence, and nothing is laid out."""
    with pytest.raises(MirrorError) as refused:
        plan(target, *answers)
    assert "\x1b" not in str(refused.value)


def test_a_collection_that_holds_itself_ends() -> None:
    """Each package and collection is meant once."""
    index = (
        b'<package id="p" subdir="s" unzip="0" url="https://h/p.txt" />'
        b'<collection id="c"><item ref="c" /><item ref="p" /><item ref="p" /></collection>'
    )
    made = Planner(Told(index), Places({}, "/x"), chosen, real=False).plan(
        Target.parse("nltk:c"), ""
    )
    assert [file.paths for file in made.files] == [("nltk_data/s/p.txt",)]
