"""Programs that have the start-up hook and know nothing of a mirror, before a whole one."""

import json
import os
from pathlib import Path
from typing import Final

import pytest

from mirror.cache.users import new_token, token_hash
from mirror.hook import FOLDER
from tests.hosts import Hosts
from tests.house.certificates import Authority
from tests.mirror.running import Running
from tests.mirror.test_hosts import CDN, MODEL, PATH, STORAGE
from tests.origin import Origin
from tests.unit.hook.scripted import Program

CLIENTS: Final = ("urllib", "pip", "httpx2", "httpx2 async", "aiohttp")
STRICT: Final = {"MODELMIRROR_STRICT": "1"}
TOKEN: Final = new_token()
API: Final = "/repos/o/r/branches?per_page=100"


@pytest.mark.parametrize("client", CLIENTS)
def test_hook_leads_programs_to_a_whole_mirror(client: str, tmp_path: Path) -> None:
    """A Hub's file and a page of an API come by way of the mirror, and again when their hosts are gone."""
    text = b'{"model_type": "bert"}'
    urls = (
        "https://huggingface.co/acme/tiny/resolve/main/config.json",
        f"https://api.github.com{API}",
    )
    with Origin() as origin, Hosts() as hosts:
        origin.add_repo("models", "acme/tiny", {"config.json": text})
        hosts.put("api.github.com", API, b"[]")
        settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting("api.github.com")}
        with Running(tmp_path / "data", origin, settings=settings) as mirror:
            program = Program(url=mirror.url, variables=STRICT)
            online = program.ask(client, *urls)
            with hosts.away():
                away = program.ask(client, *urls)

    assert [outcome["body"] for outcome in online] == [text.decode(), "[]"]
    assert away == online
    assert len(hosts.seen) == 1


def test_hook_fetches_a_model_once(tmp_path: Path) -> None:
    """What ``whisper.load_model`` does by urllib: a model with its length, asked for at the CDN once."""
    code = (
        "import hashlib, json, urllib.request as u\n"
        f"with u.urlopen('https://{CDN}{PATH}') as source:\n"
        "    length, data = int(source.info().get('Content-Length')), source.read()\n"
        "print(json.dumps([length, hashlib.sha256(data).hexdigest()]))"
    )
    with Origin() as origin, Hosts() as hosts:
        hosts.put(CDN, PATH, MODEL)
        settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(CDN, STORAGE)}
        with Running(tmp_path / "data", origin, settings=settings) as mirror:
            program = Program(url=mirror.url, variables=STRICT)
            said = [program.said(code)]
            mirror.settle()
            with hosts.away():
                said.append(program.said(code))

    assert said == [[len(MODEL), PATH.split("/")[-2]]] * 2
    assert hosts.bodies(CDN, PATH) == 1


def test_hook_says_to_a_closed_mirror_who_asks(tmp_path: Path) -> None:
    """A mirror with local users and HTTPS is asked with MODELMIRROR_TOKEN, which goes nowhere else."""
    users = tmp_path / "users.toml"
    users.write_text(f'[ci]\ntokens = ["{token_hash(TOKEN)}"]\nread = ["*"]\n')
    authority = Authority(tmp_path / "authority")
    mine = authority.issue("IP:127.0.0.1")
    flags = ("--tls-cert", str(mine.certificate), "--tls-key", str(mine.key), "--users", str(users))
    urls = (
        "https://huggingface.co/acme/tiny/resolve/main/config.json",
        f"https://api.github.com{API}",
    )
    trust = {name: str(authority.file) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
    with Origin() as origin, Hosts() as hosts:
        origin.add_repo("models", "acme/tiny", {"config.json": b"{}"})
        hosts.put("api.github.com", API, b"[]")
        settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting("api.github.com")}
        with Running(tmp_path / "data", origin, flags=flags, settings=settings) as mirror:
            variables = {**STRICT, **trust, "MODELMIRROR_FALLBACK": "1"}
            known = Program(url=mirror.url, variables={**variables, "MODELMIRROR_TOKEN": TOKEN})
            stranger = Program(url=mirror.url, variables=variables)
            asked = {client: known.ask(client, *urls) for client in CLIENTS}
            (refused,) = stranger.ask("pip", urls[0])
        log = mirror.log.read_text()

    assert mirror.url.startswith("https://")
    for client in CLIENTS:
        assert [outcome.get("body") for outcome in asked[client]] == ["{}", "[]"], asked[client]
    assert refused["status"] == 401
    assert TOKEN not in log + str(hosts.seen) + str(origin.log)


def test_mirror_is_not_led_to_itself(origin: Origin, tmp_path: Path) -> None:
    """A mirror that runs where programs are led to one asks the hubs, strict mode or not."""
    said = tmp_path / "said"
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, json, sys\n"
        "def tell():\n"
        "    hook = sys.modules['modelmirror_hook'].installed()\n"
        f"    with open({str(said)!r}, 'w') as file: json.dump([hook['modules'], hook['active']], file)\n"
        "atexit.register(tell)\n"
    )
    settings = {
        "PYTHONPATH": os.pathsep.join((str(FOLDER), str(tmp_path))),
        "MODELMIRROR_URL": "http://127.0.0.1:9",
        **STRICT,
    }
    origin.add_repo("models", "acme/tiny", {"config.json": b"{}"})
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        got = mirror.ask("/acme/tiny/resolve/main/config.json")
        page = mirror.ask("/-/hook/modelmirror_hook.py")
        assert mirror.stop() == 0

    modules, active = json.loads(said.read_text())
    assert (got.status, page.status) == (200, 200)
    assert "urllib.request" in modules
    assert active is False
