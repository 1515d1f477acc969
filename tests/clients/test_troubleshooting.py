"""What docs/troubleshooting.md quotes of client libraries is what they say."""

import os
import re
import subprocess
from pathlib import Path

from tests.clients.available import client
from tests.clients.client import client_environment
from tests.clients.mirror_process import running_mirror
from tests.house.checkout import ROOT
from tests.origin import Origin

_PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
_PROSE = re.sub(r"^```.*?^```$", "", _PAGE, flags=re.MULTILINE | re.DOTALL)


def test_transformers_says_what_the_page_quotes(origin: Origin, tmp_path: Path) -> None:
    """Of a repo that is none, of a gated one, offline, and of weights that are cut."""
    environment = client("ml")
    files = {"config.json": b'{"model_type": "bert"}', "model.safetensors": os.urandom(1 << 20)}
    origin.add_repo("models", "acme/cut", files=files)
    origin.add_repo("models", "acme/closed", files=files, gated="manual", readers=["nobody"])

    def load(endpoint: str, what: str, **extra: str) -> str:
        script = f"import transformers; transformers.{what}"
        done = subprocess.run(
            [environment.python, "-c", script],
            env=client_environment(tmp_path / "home", endpoint, environment.commands, extra),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode, done.stdout
        return " ".join(done.stderr.split())

    with running_mirror(origin, tmp_path / "mirror") as mirror:
        said = {
            "not a local folder": load(mirror.url, "AutoConfig.from_pretrained('acme/nope')"),
            "a gated repo": load(mirror.url, "AutoConfig.from_pretrained('acme/closed')"),
            "We couldn't connect": load(
                mirror.url, "AutoModel.from_pretrained('acme/cut')", HF_HUB_OFFLINE="1"
            ),
            # Random bytes are no header; the client takes whatever is in its cache for the file.
            "SafetensorError": load(mirror.url, "AutoModel.from_pretrained('acme/cut')"),
        }
    for part, shown in said.items():
        quoted = [text for text in re.findall(r"(?<!`)`([^`]+)`(?!`)", _PROSE) if part in text]
        assert quoted, part
        for text in quoted:
            words = " ".join(text.split())
            assert re.search(".*".join(map(re.escape, words.split("…"))), shown), (
                text,
                shown[-600:],
            )
