"""With --offline nothing leaves, not even a question for a name; what is here is answered as before."""

from pathlib import Path

import pytest

from tests.mirror.leaving import NotTraceableError, sent, traced
from tests.mirror.running import Running
from tests.mirror.test_patience import ROUTES, publish
from tests.origin import Origin

# What cannot be answered from here, on every route that would ask upstream: method, target, form.
BEYOND: tuple[tuple[str, str, bytes | None], ...] = (
    ("HEAD", "/acme/never/resolve/main/config.json", None),
    ("GET", "/acme/never/resolve/main/config.json", None),
    ("GET", "/acme/tiny/resolve/main/onnx/model.onnx", None),  # listed, never fetched
    ("GET", "/acme/tiny/resolve/unseen/config.json", None),
    ("GET", "/api/models/acme/never", None),
    ("GET", "/api/models/acme/never/tree/main", None),
    ("GET", "/api/models/acme/never/refs", None),
    ("POST", "/api/models/acme/never/paths-info/main", b"paths=config.json"),
    ("GET", "/api/models/acme/never/xet-read-token/main", None),
    ("GET", "/api/models/acme/never/auth-check", None),
    ("GET", "/api/models?search=tiny", None),
    ("GET", "/api/whoami-v2", None),
    ("GET", "/api/something/else", None),
    ("GET", "/acme/tiny/info/refs?service=git-upload-pack", None),
    ("POST", "/acme/tiny/git-upload-pack", b"0000"),
    ("GET", "/v2/acme/never/manifests/latest", None),
)


def _tracer(report: Path) -> tuple[str, ...]:
    try:
        return traced(report)
    except NotTraceableError as error:
        pytest.skip(str(error))


def test_offline_no_packet_leaves(tmp_path: Path, origin: Origin) -> None:
    """Every route, what is here and what is not, by an upstream with a name: nobody is ever addressed."""
    publish(origin)
    with Running(tmp_path / "data", origin) as online:
        for method, target, token, _ in ROUTES:
            if method == "HEAD":
                online.ask(target, token=token)
        warm = [online.ask_form(*route) for route in ROUTES]
        online.settle()
    origin.clear_log()
    report = tmp_path / "trace"
    offline = Running(
        tmp_path / "data",
        origin,
        flags=("--offline",),
        before=_tracer(report),
        settings={
            "MODELMIRROR_HUGGINGFACE_UPSTREAMS": f"{origin.url},https://hub.invalid",
            "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s",
            "MODELMIRROR_AUDIENCE_LIFETIME": "0s",
        },
    )
    with offline:
        for route, before in zip(ROUTES, warm, strict=True):
            got = offline.ask_form(*route)
            assert got.status == before.status, (route[:2], got.status, got.body)
            if "xet-read-token" not in route[1]:  # which tells when it expires
                own, was = offline.url.encode(), online.url.encode()
                assert got.body.replace(own, b"") == before.body.replace(was, b""), route[:2]
        for method, target, form in BEYOND:
            got = offline.ask_form(method, target, None, form)
            assert got.status == 501, (method, target, got.status, got.body)
            assert len(got.headers["x-error-message"]) > 20
        assert offline.ask("/-/status").json()["state"] == "offline"

    assert sent(report, offline.process.pid) == []
    assert origin.log == []


def test_offline_is_what_keeps_packets_from_leaving(tmp_path: Path, origin: Origin) -> None:
    """The same trace shows an online mirror's way to upstream: it would show one that leaves."""
    publish(origin)
    report = tmp_path / "trace"
    with Running(tmp_path / "data", origin, before=_tracer(report)) as online:
        assert online.ask("/acme/tiny/resolve/main/config.json").status == 200

    port = origin.url.rpartition(":")[2]
    assert any(f"htons({port})" in line for line in sent(report, online.process.pid))
