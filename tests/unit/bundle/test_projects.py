"""``models.toml`` and ``models.lock``, read strictly and written the same way each time."""

from pathlib import Path

import pytest

from mirror.bundle import lockfile, projects
from mirror.bundle.lockfile import Locked
from mirror.bundle.needs import Goal, Need
from mirror.bundle.outcome import Wanted
from mirror.digest import Digest, sha256_of
from mirror.errors import QuestionError
from mirror.targets import Target

COMMIT = "c0ffee" + "0" * 34


def listing(folder: Path, text: str) -> Path:
    """A file that lists targets."""
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_share_targets_and_choices_add_up(tmp_path: Path) -> None:
    """A target of two groups is one; globs of the group and of the target both count."""
    path = listing(
        tmp_path,
        '[a]\ntargets = ["x/y", {target = "x/z", include = ["*.bin"], as = "transformers"}]\n'
        'include = ["*.json"]\n[b]\ntargets = ["whisper:base"]\n[c]\ntargets = ["whisper:base"]\n',
    )
    found = projects.read(path)
    first, second, third = found
    assert str(first) == "x/y --include *.json"
    assert str(second) == "x/z --include *.json --include *.bin --as transformers"
    assert found[third] == ["b", "c"]
    assert list(projects.read(path, ["b"])) == [third]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a", "cannot be read"),
        ("[a]\n", "no list of targets"),
        ('[a]\ntargets = ["nope:x"]', r"\[a\]: 'nope' is no kind of target"),
        ("[a]\ntargets = [7]", "no target"),
        ('[a]\ntargets = []\ninclude = "x"', "means nothing"),
        ('[a]\ntargets = []\nexlude = ["x"]', "exlude"),
        ('[a]\ntargets = ["x/y"]\nas = "keras"', "no loader"),
    ],
)
def test_a_mistake_in_the_list_is_named(tmp_path: Path, text: str, said: str) -> None:
    """With the file and the group where it stands."""
    with pytest.raises(QuestionError, match=said) as caught:
        projects.read(listing(tmp_path, text))
    assert said == "no loader" or "models.toml" in str(caught.value)


def goal(name: str, *paths: str) -> Locked:
    """A repo that is locked."""
    target = Target.parse(name).only(("*.x", 'q"uote'), ())
    needs = [
        Need(
            f"/{name}/resolve/{COMMIT}/{path.replace(' ', '%20')}", path, name, 3, sha256_of(b"abc")
        )
        for path in paths
    ]
    return Locked(Goal(Wanted(target), needs, COMMIT), ("b", "a"))


def test_a_lock_reads_back_what_was_written(tmp_path: Path) -> None:
    """Also paths with spaces, quotes and other letters, in whatever order they came."""
    path = tmp_path / "models.lock"
    one, two = goal("x/z", "b.bin", "ä ö.txt"), goal("x/y", 'c"d\\e.bin')
    assert lockfile.write(path, [one, two])
    assert not lockfile.write(path, [two, one])
    again = lockfile.read(path)
    assert [str(locked.goal.wanted) for locked in again] == sorted(
        str(locked.goal.wanted) for locked in (one, two)
    )
    assert lockfile.text_of(again) == path.read_text(encoding="utf-8")
    assert again[0].goal.needs[0].digest == Digest("sha256", sha256_of(b"abc").hex)
    assert again[1].goal.needs[1].source == f"/x/z/resolve/{COMMIT}/%C3%A4%20%C3%B6.txt"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 2\n", "of version 2"),
        ('version = 1\n[[target]]\ntarget = "x/y"\nfiles = []\n', "no commit"),
        (
            'version = 1\n[[target]]\ntarget = "whisper:base"\nfiles = [["a", 1, "md5:0"]]',
            "damaged",
        ),
        ('version = 1\n[[target]]\ntarget = "whisper:base"\nfiles = [["a"]]', "damaged"),
        ("version = 1\ntarget = 7\n", "damaged"),
    ],
)
def test_a_damaged_lock_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """So is one of another version."""
    path = tmp_path / "models.lock"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(QuestionError, match=said):
        lockfile.read(path)
