"""Nothing that callers make up is remembered without a bound: paths, queries, tokens, repos."""

import contextlib
import http.client

from tests.mirror.running import Running, files_below
from tests.origin import Origin

MADE_UP = 8000


def test_what_callers_make_up_leaves_nothing(mirror: Running, origin: Origin) -> None:
    """Thousands of paths, and hundreds of queries, tokens and repos that are none: memory and disk stay."""
    repo = origin.add_repo("models", "acme/tiny", files={"config.json": b"{}"})
    file = f"/acme/tiny/resolve/{repo.commit}"
    targets = [
        *(f"{file}/made-up-{number}" for number in range(MADE_UP)),
        *(f"/api/models/acme/tiny/commits/main?p={number}" for number in range(400)),
        *(f"/acme/made-up-{number}/resolve/main/config.json" for number in range(400)),
    ]
    with contextlib.closing(http.client.HTTPConnection(*mirror.address, timeout=60)) as client:

        def ask(target: str, token: str | None = None) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            client.request("HEAD", target, headers=headers)
            answer = client.getresponse()
            answer.read()
            return answer.status

        assert ask(f"{file}/config.json") == 200
        for target in targets[:: MADE_UP // 50]:
            ask(target)
        before = mirror.rss()
        for target in targets:
            assert ask(target) < 500, target
        for number in range(400):
            assert ask(f"{file}/config.json", f"hf_made_up_{number}") == 200
            assert ask("/acme/made-up-0/resolve/main/config.json", f"hf_made_up_{number}") < 500

        assert mirror.rss() - before < 32 << 20
        metrics = mirror.ask("/-/metrics").body
        assert len(metrics) < 200 << 10
        assert b"made-up" not in metrics
        assert ask(f"{file}/config.json") == 200
    records = [name for name, _ in files_below(mirror.data / "v1" / "records")]
    assert len(records) < 300
