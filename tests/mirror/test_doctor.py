"""`modelmirror doctor`: real clients in front of a real mirror, and each mistake that it is to find."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from mirror.cli.address import parse
from mirror.cli.exits import FAILED, OK, UNCHECKED, USAGE
from mirror.cli.pointing import pointing
from mirror.hook import FOLDER
from tests.house.certificates import Authority
from tests.mirror.commands import environment, run
from tests.mirror.running import Running
from tests.origin import Origin

# Clients that this project's own environment has, all of which the hook or a variable leads here.
CLIENTS: Final = ("urllib", "aiohttp", "httpx2", "pip", "huggingface_hub")
ONLY: Final = [word for name in CLIENTS for word in ("--only", name)]

# A client with its own idea of the network: HTTPS by hand, to an address that is written in it.
BYPASS: Final = """
import http.client


def download(path):
    connection = http.client.HTTPSConnection("huggingface.co")
    connection.request("GET", path)
    return connection.getresponse().read()
"""
# One that asks for news of itself at another host, and goes on without.
CURIOUS: Final = """
import contextlib, socket
from urllib.request import urlopen


def download(path):
    with contextlib.suppress(OSError):
        socket.create_connection(("news.example", 443))
    return urlopen("https://huggingface.co" + path).read()
"""
# As NLTK 3.10 does: it looks the host up, and takes no address of a private network.
NLTK: Final = """
import socket


def urlopen(url):
    socket.getaddrinfo(url.split("/")[2], 443)
"""
ENTRY: Final = """
from urllib.parse import urlsplit


def fetch(probe):
    import acme_models

    return acme_models.download(urlsplit(probe.url).path)


ADDRESS = "https://huggingface.co/acme/{probe}/resolve/main/weights.bin"
CLIENTS = [("acme", "acme_models", ADDRESS, fetch)]
"""

Diagnosis = tuple[int, dict[str, Any]]


# One of each for all: what a probe asks is kept nowhere.
@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """A scripted origin."""
    with Origin() as running:
        yield running


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[Running]:
    """A mirror in its own process, pointed at the origin."""
    with Running(tmp_path_factory.mktemp("mirror") / "data", origin) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without caches."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def doctor(home: Path) -> Callable[..., Diagnosis]:
    """Runs the command with variables; its exit code and what it reports."""

    def examine(*arguments: str, **variables: str) -> Diagnosis:
        ran = run("doctor", "--json", *arguments, variables=environment(home, **variables))
        assert ran.stdout, ran.stderr
        return ran.returncode, json.loads(ran.stdout)

    return examine


@pytest.fixture
def client(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Makes a client of a module's source and its entry; the flags that try it alone."""

    def make(module: str, entry: str) -> list[str]:
        site, file = tmp_path / "site", tmp_path / "entry.py"
        site.mkdir()
        (site / "acme_models.py").write_text(module)
        file.write_text(entry)
        return ["--client", str(file), "--only", "acme"]

    return make


@pytest.fixture
def serve_tls(tmp_path: Path, origin: Origin) -> Iterator[Callable[[], tuple[Running, Path]]]:
    """Starts a mirror that is served by HTTPS; it, and the file of its authority."""
    with ExitStack() as stack:

        def start() -> tuple[Running, Path]:
            authority = Authority(tmp_path / "authority")
            mine = authority.issue("IP:127.0.0.1")
            flags = ("--tls-cert", str(mine.certificate), "--tls-key", str(mine.key))
            mirror = stack.enter_context(Running(tmp_path / "secure", origin, flags))
            return mirror, authority.file

        yield start


@pytest.fixture
def closed() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def _set(mirror: Running, **more: str) -> dict[str, str]:
    """As `modelmirror env` has it, and *more*."""
    return pointing(parse(mirror.url), {}, hook=FOLDER) | more


def _verdicts(report: Mapping[str, Any]) -> dict[str, str]:
    return {client["name"]: client["verdict"] for client in report["clients"]}


# ── clients ────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_finds_nothing_wrong_where_clients_use_the_mirror(
    mirror: Running, origin: Origin, doctor: Callable[..., Diagnosis]
) -> None:
    """Each client's bytes came through by its own call, and upstream was asked nothing for it."""
    origin.clear_log()
    code, report = doctor(*ONLY, **_set(mirror))

    assert _verdicts(report) == dict.fromkeys(CLIENTS, "through"), report["clients"]
    assert (code, report["wrong"], report["exit"]) == (OK, 0, OK)
    assert report["findings"] == []
    assert report["mirror"]["answers"]
    assert report["mirror"]["state"] == "online"
    assert all(client["hook"] and not client["mend"] for client in report["clients"])
    assert origin.log == []


def test_doctor_finds_what_leaks_and_how_to_mend_it(
    mirror: Running, doctor: Callable[..., Diagnosis]
) -> None:
    """With HF_ENDPOINT alone the Hub's client is through, and the others ask their hosts; the line helps."""
    code, report = doctor(*ONLY, "--url", mirror.url, HF_ENDPOINT=mirror.url)
    leaking = {client["name"]: client for client in report["clients"] if client["asked"]}

    assert code == FAILED
    assert _verdicts(report)["huggingface_hub"] == "through"
    assert leaking.keys() == set(CLIENTS) - {"huggingface_hub"}
    assert leaking["urllib"]["asked"] == ["download.pytorch.org:443"]
    assert "download.pytorch.org" in leaking["urllib"]["what"]
    assert {client["verdict"] for client in leaking.values()} == {"leaks"}
    (line,) = {client["mend"] for client in leaking.values()}
    assert line == f"export MODELMIRROR_URL={mirror.url} PYTHONPATH={FOLDER}"

    mended = dict(word.split("=", 1) for word in line.split()[1:])
    code, report = doctor(*ONLY, HF_ENDPOINT=mirror.url, **mended)
    assert (code, set(_verdicts(report).values())) == (OK, {"through"})


def test_doctor_names_a_client_that_bypasses_the_mirror(
    mirror: Running, doctor: Callable[..., Diagnosis], client: Callable[..., list[str]]
) -> None:
    """The hook does not reach it, everything is set as it should be, and nothing got out all the same."""
    flags = client(BYPASS, ENTRY)
    variables = _set(mirror)
    variables["PYTHONPATH"] += f":{Path(flags[1]).parent / 'site'}"
    code, report = doctor(*flags, **variables)
    (acme,) = report["clients"]

    assert code == FAILED
    assert (acme["name"], acme["verdict"]) == ("acme", "leaks")
    assert acme["asked"] == ["huggingface.co:443"]
    assert "huggingface.co" in acme["what"]
    assert acme["hook"]
    assert acme["mend"]

    ran = run("doctor", *flags, variables=environment(Path(flags[1]).parent, **variables))
    assert "acme" in ran.stdout
    assert "leaks: it would have asked huggingface.co, past the mirror" in ran.stdout


def test_doctor_sees_the_strict_hook_refuse_it(
    mirror: Running, doctor: Callable[..., Diagnosis], client: Callable[..., list[str]]
) -> None:
    """In strict mode nobody is asked: it is no leak any more, and no bytes come either."""
    flags = client(BYPASS, ENTRY)
    variables = _set(mirror, MODELMIRROR_STRICT="1")
    variables["PYTHONPATH"] += f":{Path(flags[1]).parent / 'site'}"
    _, report = doctor(*flags, **variables)
    (acme,) = report["clients"]

    assert (acme["verdict"], acme["asked"]) == ("refused", [])
    assert "MODELMIRROR_STRICT" in acme["what"]


@pytest.mark.parametrize(
    ("module", "verdict", "says"),
    [
        ("def download(path): return b'{}'", "fails", "2 other bytes"),
        ("def download(path): raise ValueError('odd')", "fails", "odd"),
        ("def fetch(path): ...", "unknown", "download"),
        ("raise RuntimeError('no GPU')", "unknown", "no GPU"),
        ("import sys; sys.exit(3)", "unknown", "3"),
        ("def download(path): import time; time.sleep(60)", "slow", "more than 2 s"),
        ("def download(path): import os; os._exit(9)", "fails", "9"),
        (
            "def download(path):\n  import subprocess\n  return subprocess.check_output(['curl', path])",
            "leaks",
            "curl",
        ),
    ],
)
def test_doctor_tells_what_became_of_a_client(
    module: str,
    verdict: str,
    says: str,
    mirror: Running,
    doctor: Callable[..., Diagnosis],
    client: Callable[..., list[str]],
) -> None:
    """Other bytes, an error, other insides, a module that cannot be imported, no end, a program."""
    flags = client(module, ENTRY)
    site = str(Path(flags[1]).parent / "site")
    _, report = doctor(*flags, "--limit", "2", "--url", mirror.url, PYTHONPATH=site)
    (acme,) = report["clients"]

    assert acme["verdict"] == verdict, acme
    assert says in acme["what"]


def test_doctor_tells_a_proxy_from_a_hub(
    mirror: Running, doctor: Callable[..., Diagnosis], closed: str
) -> None:
    """A proxy variable without NO_PROXY: found as such, and the client that asks the proxy is named."""
    proxy = closed.partition("//")[2]
    only = ("--only", "huggingface_hub", "--url", mirror.url)
    code, report = doctor(*only, HF_ENDPOINT=mirror.url, http_proxy=closed)
    (finding,) = report["findings"]
    (hub,) = report["clients"]
    line = "export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1"

    assert code == FAILED
    assert (finding["kind"], finding["mend"]) == ("proxy", line)
    assert (hub["verdict"], hub["asked"], hub["mend"]) == ("leaks", [proxy], line)
    assert f"the proxy {proxy}" in hub["what"]

    settings = {"HF_ENDPOINT": mirror.url, "http_proxy": closed, "NO_PROXY": "127.0.0.1"}
    assert doctor(*only, **settings)[0] == OK


def test_doctor_tries_clients_with_an_endpoint_of_their_own(
    mirror: Running, doctor: Callable[..., Diagnosis], tmp_path: Path
) -> None:
    """Cnstd names hf-mirror.com, whatever HF_ENDPOINT says: only the hook leads it here."""
    (tmp_path / "cnstd.py").touch()
    only = ("--only", "cnstd", "--url", mirror.url)
    variables = _set(mirror)
    _, without = doctor(*only, HF_ENDPOINT=mirror.url, PYTHONPATH=str(tmp_path))
    variables["PYTHONPATH"] += f":{tmp_path}"
    code, with_hook = doctor(*only, **variables)

    assert without["clients"][0]["asked"] == ["hf-mirror.com:443"]
    assert (code, _verdicts(with_hook)) == (OK, {"cnstd": "through"})


def test_doctor_is_content_with_a_folder_of_nltks(
    mirror: Running, doctor: Callable[..., Diagnosis], tmp_path: Path
) -> None:
    """NLTK refuses the mirror; the line that mends it is one after which nothing is wrong."""
    package, data = tmp_path / "nltk", tmp_path / "nltk_data"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "downloader.py").write_text(NLTK)
    variables = _set(mirror)
    variables["PYTHONPATH"] += f":{tmp_path}"
    code, report = doctor("--only", "nltk", **variables)
    assert (code, _verdicts(report)) == (FAILED, {"nltk": "leaks"})
    assert report["clients"][0]["mend"].endswith("export NLTK_DATA=DIR/nltk_data")

    (data / "corpora").mkdir(parents=True)
    code, report = doctor("--only", "nltk", NLTK_DATA=str(data), **variables)
    assert (code, _verdicts(report)) == (OK, {"nltk": "refused"})
    assert "NLTK_DATA" in report["clients"][0]["what"]


def test_doctor_tells_news_from_models(
    mirror: Running, doctor: Callable[..., Diagnosis], client: Callable[..., list[str]]
) -> None:
    """A client that asks another host of something else is through, and the host is named."""
    flags = client(CURIOUS, ENTRY)
    variables = _set(mirror)
    variables["PYTHONPATH"] += f":{Path(flags[1]).parent / 'site'}"
    code, report = doctor(*flags, **variables)
    (acme,) = report["clients"]

    assert (code, acme["verdict"], acme["asked"]) == (OK, "through", ["news.example:443"])
    assert "would have asked news.example besides" in acme["what"]


def test_doctor_tries_clients_by_https(
    serve_tls: Callable[[], tuple[Running, Path]], doctor: Callable[..., Diagnosis], home: Path
) -> None:
    """Its authority has to be trusted: by one variable for some clients, by another for others."""
    mirror, authority = serve_tls()
    ran = run("doctor", "--url", mirror.url, variables=environment(home))
    assert ran.returncode == UNCHECKED
    assert "its certificate is not trusted" in ran.stdout
    assert "    export SSL_CERT_FILE=" in ran.stdout

    only = ("--only", "urllib", "--only", "pip", "--only", "huggingface_hub")
    variables = _set(mirror, SSL_CERT_FILE=str(authority))
    code, report = doctor(*only, **variables)
    (finding,) = report["findings"]
    both = f"export SSL_CERT_FILE={authority} REQUESTS_CA_BUNDLE={authority}"
    assert (code, finding["kind"], finding["mend"]) == (FAILED, "authorities", both)
    assert _verdicts(report)["huggingface_hub"] == "through"

    code, report = doctor(*only, **variables, REQUESTS_CA_BUNDLE=str(authority))
    assert (code, set(_verdicts(report).values())) == (OK, {"through"}), report


def test_doctor_tells_a_client_of_another_python(
    mirror: Running, doctor: Callable[..., Diagnosis], tmp_path: Path
) -> None:
    """--python names it; what is not a Python is refused in a sentence."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    code, report = doctor("--python", str(venv / "bin" / "python"), **_set(mirror))

    assert code == OK
    assert report["python"]["path"] == str(venv / "bin" / "python")
    assert _verdicts(report) == {"urllib": "through"}

    ran = run("doctor", "--python", "/bin/true", variables=environment(tmp_path, **_set(mirror)))
    assert ran.returncode == USAGE
    assert "--python" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_doctor_knows_the_clients_that_are_there_alone(mirror: Running, home: Path) -> None:
    """A name that is none is refused, with those that are."""
    ran = run("doctor", "--only", "nonesuch", variables=environment(home, **_set(mirror)))

    assert ran.returncode == USAGE
    assert "huggingface_hub" in ran.stderr


# ── no mirror ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("mirror")
def test_doctor_without_a_mirror_tries_nobody(
    doctor: Callable[..., Diagnosis], closed: str, origin: Origin
) -> None:
    """Nothing listens, or something else does: the code for what could not be checked."""
    for url in (closed, origin.url):
        code, report = doctor("--url", url)
        assert code == UNCHECKED
        assert not report["mirror"]["answers"]
        assert report["mirror"]["why"]
        assert report["clients"] == []


# ── variables and folders ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def model(home: Path) -> Path:
    """A cache of the Hub in a folder of its own, with one model."""
    cache = home / "models"
    snapshot = cache / "models--acme--tiny" / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return cache


@pytest.fixture
def mistakes(
    home: Path, model: Path, closed: str
) -> dict[str, tuple[list[str], dict[str, str], str]]:
    """Each mistake: flags, variables, and the line that mends it."""
    return {
        "misplaced": ([str(model)], {}, f"export HF_HUB_CACHE={model}"),
        "offline-and-empty": (
            [],
            {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "empty")},
            "unset HF_HUB_OFFLINE",
        ),
        "proxy": (
            [],
            {"ALL_PROXY": "http://proxy.corp:3128"},
            "export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1",
        ),
        "left-over": ([], {"HF_ENDPOINT": closed}, "export HF_ENDPOINT={url}"),
        "endpoint": (
            [],
            {"HF_ENDPOINT": "https://huggingface.co"},
            "export HF_ENDPOINT={url}",
        ),
        "authorities": ([], {"SSL_CERT_FILE": "/no/such.pem"}, "unset SSL_CERT_FILE"),
    }


@pytest.mark.parametrize(
    "kind",
    ["misplaced", "offline-and-empty", "proxy", "left-over", "endpoint", "authorities"],
)
def test_doctor_finds_each_mistake(
    kind: str,
    mirror: Running,
    mistakes: Mapping[str, tuple[list[str], dict[str, str], str]],
    doctor: Callable[..., Diagnosis],
) -> None:
    """By its kind, with the line that mends it; one of them is enough for the exit code."""
    flags, variables, mend = mistakes[kind]
    code, report = doctor(*flags, "--only", "urllib", **(_set_but(mirror, variables) | variables))
    (finding,) = report["findings"]

    assert (finding["kind"], finding["wrong"]) == (kind, True)
    assert finding["mend"] == mend.replace("{url}", mirror.url)
    assert code == FAILED


def _set_but(mirror: Running, variables: Mapping[str, str]) -> dict[str, str]:
    """As `modelmirror env` has it; without what would hide the mistake of *variables*."""
    hidden = {"NO_PROXY", "no_proxy"} if "ALL_PROXY" in variables else set()
    return {name: value for name, value in _set(mirror).items() if name not in hidden}


def test_doctor_finds_folders_that_another_user_cannot_read(
    mirror: Running, doctor: Callable[..., Diagnosis], model: Path
) -> None:
    """--user asks for whoever the container runs as; the line says whom to give it to."""
    variables = _set(mirror, HF_HUB_CACHE=str(model))
    code, report = doctor("--user", "1234:5678", "--only", "urllib", **variables)
    (finding,) = report["findings"]

    assert code == FAILED
    assert finding["kind"] == "unreadable"
    assert "1234:5678" in finding["what"]
    assert finding["mend"].startswith("sudo ch")


def test_doctor_reads_the_variables_of_an_app(
    mirror: Running, doctor: Callable[..., Diagnosis], model: Path, tmp_path: Path
) -> None:
    """A left-over ENV of a Dockerfile, in place of what is set here: its mistakes, and its clients'."""
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python\nENV HF_ENDPOINT=https://hf-mirror.com \\\n    HF_HUB_OFFLINE=0\n")
    flags = ("--env-file", str(file), "--only", "huggingface_hub")
    variables = _set(mirror, HF_HUB_CACHE=str(model))
    del variables["PYTHONPATH"]
    code, report = doctor(*flags, **variables)
    (finding,) = report["findings"]
    (hub,) = report["clients"]

    assert code == FAILED
    assert (finding["kind"], finding["where"]) == ("endpoint", "HF_ENDPOINT")
    assert hub["asked"] == ["hf-mirror.com:443"]
    assert hub["mend"] == f"export HF_ENDPOINT={mirror.url}"


def test_doctor_says_who_keeps_a_client_from_asking(
    mirror: Running, doctor: Callable[..., Diagnosis], model: Path
) -> None:
    """HF_HUB_OFFLINE with a model in its cache is nothing wrong: nobody is asked, as was meant."""
    variables = _set(mirror, HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(model))
    code, report = doctor("--only", "huggingface_hub", **variables)
    (hub,) = report["clients"]

    assert (code, report["findings"]) == (OK, [])
    assert (hub["verdict"], hub["mend"]) == ("refused", "unset HF_HUB_OFFLINE")
    assert "HF_HUB_OFFLINE" in hub["what"]


def test_doctor_tells_people_the_same(mirror: Running, home: Path, model: Path) -> None:
    """Without --json: sentences, each with its line below it, and a last one that counts."""
    variables = environment(home, **_set(mirror, HF_HUB_OFFLINE="1"))
    ran = run("doctor", str(model), "--only", "urllib", "--only", "pip", variables=variables)
    lines = ran.stdout.splitlines()

    assert ran.returncode == FAILED
    assert lines[0].startswith(f"The mirror at {mirror.url} answers: online, version ")
    at = next(number for number, line in enumerate(lines) if line.startswith("wrong: acme/tiny"))
    assert lines[at + 1] == f"    export HF_HUB_CACHE={model}"
    assert any(
        line.split()[0] == "urllib" and "through" in line for line in lines if line[:1] == " "
    )
    assert lines[-1] == "2 things are wrong."
    assert ran.stderr == ""
