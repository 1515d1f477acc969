"""Variables that lead clients past the mirror: each mistake is found, with the line that mends it."""

import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mirror.cli.address import Address, parse
from mirror.cli.diagnosis.findings import Finding
from mirror.cli.diagnosis.variables import check_variables

MIRROR = parse("http://mirror:8090")
SECURE = parse("https://mirror:8090")


def _found(environment: Mapping[str, str], address: Address = MIRROR) -> list[Finding]:
    return list(check_variables(environment, address))


@pytest.fixture
def closed() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def another() -> Iterator[str]:
    """An address at which a mirror lives."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"live\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_variables_that_are_right_are_not_complained_of() -> None:
    """Nothing set, and everything as `modelmirror env` sets it, with a proxy."""
    assert _found({}) == []
    assert (
        _found(
            {
                "HF_ENDPOINT": "http://mirror:8090/",
                "MODELMIRROR_URL": "http://mirror:8090",
                "KAGGLE_API_ENDPOINT": "http://mirror:8090/-/kaggle/",
                "PIP_FIND_LINKS": "/opt/wheels http://mirror:8090/-/spacy/files/",
                "HTTP_PROXY": "http://proxy:3128",
                "NO_PROXY": "localhost,mirror",
            }
        )
        == []
    )


def test_endpoint_that_is_left_over_is_found(closed: str) -> None:
    """HF_ENDPOINT names a server that is gone: which, why, and what to set."""
    (finding,) = _found({"HF_ENDPOINT": closed})

    assert (finding.kind, finding.where) == ("left-over", "HF_ENDPOINT")
    assert closed in finding.what
    assert "refused" in finding.what
    assert finding.mend == "export HF_ENDPOINT=http://mirror:8090"


def test_endpoint_of_another_mirror_is_found(another: str) -> None:
    """One that answers is no left-over, but not the one that is meant either."""
    (finding,) = _found({"HF_ENDPOINT": another})

    assert finding.kind == "another-mirror"


def test_endpoint_of_the_hub_itself_is_found() -> None:
    """It needs no asking: clients go past the mirror."""
    for url in ("https://huggingface.co", "https://hf-mirror.com/"):
        (finding,) = _found({"HF_ENDPOINT": url})
        assert finding.kind == "endpoint"
        assert "Hub clients would ask there, past the mirror" in finding.what


def test_mirror_that_is_named_elsewhere_is_found(closed: str) -> None:
    """MODELMIRROR_URL and pip's links may be left over as well."""
    environment = {
        "MODELMIRROR_URL": closed,
        "PIP_FIND_LINKS": f"/opt/wheels {closed}/-/spacy/files/",
    }
    hook, links = _found(environment)

    assert (hook.kind, hook.where) == ("left-over", "MODELMIRROR_URL")
    assert (links.kind, links.where) == ("left-over", "PIP_FIND_LINKS")
    assert links.mend == ("export PIP_FIND_LINKS='/opt/wheels http://mirror:8090/-/spacy/files/'")


def test_kaggle_endpoint_without_its_slash_is_found() -> None:
    """Kagglehub would drop the last part of it."""
    (finding,) = _found({"KAGGLE_API_ENDPOINT": "http://mirror:8090/-/kaggle"})

    assert finding.mend == "export KAGGLE_API_ENDPOINT=http://mirror:8090/-/kaggle/"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_proxy_that_the_mirror_is_not_excepted_from_is_found(name: str) -> None:
    """With both variables to set, and what they hold already."""
    (finding,) = _found({name: "http://proxy:3128", "NO_PROXY": "localhost"})

    assert (finding.kind, finding.where) == ("proxy", name)
    assert finding.mend == "export NO_PROXY=localhost,mirror no_proxy=localhost,mirror"


def test_proxy_is_judged_by_both_spellings_of_no_proxy() -> None:
    """Where both are set, Python reads one and Go the other: each must name the mirror."""
    environment = {"http_proxy": "http://proxy:3128", "NO_PROXY": "mirror", "no_proxy": "other"}
    (finding,) = _found(environment)

    assert "no_proxy does not name mirror" in finding.what
    assert _found(environment | {"no_proxy": "other,mirror"}) == []


def test_proxy_for_https_does_not_matter_to_a_mirror_without() -> None:
    """A proxy for the other scheme is not asked."""
    assert _found({"HTTPS_PROXY": "http://proxy:3128"}) == []
    assert _found({"HTTPS_PROXY": "http://proxy:3128"}, SECURE) != []


def test_authorities_that_disagree_are_found(tmp_path: Path) -> None:
    """One variable without the other, and two different files, when the mirror is HTTPS."""
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.touch()
    two.touch()
    both = f"export SSL_CERT_FILE={one} REQUESTS_CA_BUNDLE={one}"
    (alone,) = _found({"SSL_CERT_FILE": str(one)}, SECURE)
    (different,) = _found({"SSL_CERT_FILE": str(one), "REQUESTS_CA_BUNDLE": str(two)}, SECURE)

    assert (alone.kind, alone.where) == ("authorities", "REQUESTS_CA_BUNDLE")
    assert alone.mend == different.mend == both
    assert _found({"SSL_CERT_FILE": str(one), "REQUESTS_CA_BUNDLE": str(one)}, SECURE) == []
    assert _found({"SSL_CERT_FILE": str(one)}, MIRROR) == []


def test_authorities_that_are_no_file_are_found(tmp_path: Path) -> None:
    """Whatever the mirror is: no client that heeds it can use HTTPS."""
    (finding,) = _found({"REQUESTS_CA_BUNDLE": str(tmp_path / "gone.pem")})

    assert finding.mend == "unset REQUESTS_CA_BUNDLE"


def test_hook_that_is_not_where_the_path_says_is_noted(tmp_path: Path) -> None:
    """A note: the folder of a container is not that of its host."""
    (finding,) = _found({"PYTHONPATH": f"/mine:{tmp_path}/modelmirror/hook"})

    assert (finding.kind, finding.note) == ("no-hook", True)
