"""Refusals for clients that know nothing but HTTP."""

import json

import pytest

from mirror.errors import NotAllowedError
from mirror.hubs.plain import refuse


@pytest.mark.parametrize(("anonymous", "status"), [(True, 401), (False, 403)])
def test_whoever_the_operator_does_not_admit_is_told(*, anonymous: bool, status: int) -> None:
    """Strangers are asked who they are, as curl and pip understand it; it is no fault of the mirror."""
    said = "This mirror wants to know who you are."
    answer = refuse(NotAllowedError(said, repo="", anonymous=anonymous))
    assert answer.status == status
    assert ("WWW-Authenticate" in dict(answer.headers)) is anonymous
    assert json.loads(b"".join(part for part in answer.body if isinstance(part, bytes))) == {
        "error": said
    }
