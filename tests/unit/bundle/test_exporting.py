"""A folder that cannot be exported to is refused with what mends that."""

from pathlib import Path
from typing import Any, cast

import pytest

from mirror.bundle.endpoint import Endpoint
from mirror.bundle.exporting import Export
from mirror.bundle.places import Places
from mirror.errors import StoreUnusableError


def _refused(folder: Path) -> StoreUnusableError:
    nobody = cast(Any, None)
    asked = Endpoint("http://mirror:8090")
    export = Export(folder, asked, Places({}, "/"), nobody, shelf=None, real=False, verify=False)
    with pytest.raises(StoreUnusableError) as caught:
        export.run([])
    return caught.value


def test_a_folder_of_another_user_is_given_to_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the line that does it."""

    def mkdir(*_args: object, **_flags: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    refusal = _refused(tmp_path)
    assert "Permission denied" in refusal.message
    assert refusal.hint.startswith("Give it to that user: chown -R ")


def test_what_is_no_folder_is_given_to_nobody(tmp_path: Path) -> None:
    """Its owner is not what is wrong, and it may be anybody's."""
    file = tmp_path / "file"
    file.write_text("a file")
    refusal = _refused(file)
    assert "Not a directory" in refusal.message
    assert "chown" not in refusal.hint
