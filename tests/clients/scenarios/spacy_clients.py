"""spaCy, pip and NLTK, called as their users call them.

spaCy's models are packages: each is installed into an environment of its own, which has all that the client's
has. The task names what to run; what it does not name is left out.
"""
# mypy: ignore-errors

import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path

from tests.clients.scenarios.report import Report, digests, task

_TRY = """
import json, en_core_web_sm
made = en_core_web_sm.load()
sentences = [str(one) for one in made("A mirror. It keeps what it has seen.").sents]
print(json.dumps([en_core_web_sm.__file__, sentences]))
"""


def _run(command):
    """Run a program to its end; what it says is the error if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def _installed(name, *arguments):
    """Install the model into a new environment by ``python -m ARGUMENTS``; say what it holds and does."""
    folder = Path.home() / name
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "client.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    _run([python, "-m", *arguments])
    file, sentences = json.loads(_run([python, "-c", _TRY]).splitlines()[-1])
    assert Path(file).is_relative_to(packages), file
    found = digests(packages / "en_core_web_sm")
    return [{name: sha for name, sha in found.items() if "__pycache__" not in name}, sentences]


def spacy(arguments):
    """Install by ``spacy download``."""
    return _installed("spacy", "spacy", "download", *arguments)


def pip(options):
    """Install by ``pip install``."""
    return _installed("pip", "pip", "--no-cache-dir", "install", *options)


def index(options):
    """Install by ``pip install``, from an index."""
    return _installed("index", "pip", "--no-cache-dir", "install", *options)


def nltk(index):
    """Read a corpus, downloaded first unless it is to be there: from NLTK's own index, or another one."""
    import nltk as client  # noqa: PLC0415

    # NLTK refuses proxies too; what it says of the mirror itself is what is asked here.
    os.environ.pop("HTTPS_PROXY")
    if index != "here":
        folder = Path.home() / "nltk_data"
        asked = client.downloader.Downloader(server_index_url=index, download_dir=str(folder))
        asked.download("stopwords", raise_on_error=True)
    return client.corpus.stopwords.words("english")


def main():
    """Run what the task names."""
    asked = task()
    report = Report()
    for client in (spacy, pip, index, nltk):
        if client.__name__ in asked:
            report.case(client.__name__, lambda client=client: client(asked[client.__name__]))
    report.send()


if __name__ == "__main__":
    main()
