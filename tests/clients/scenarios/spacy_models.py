"""A small pipeline, packed by spaCy's own command as its models are."""
# mypy: ignore-errors

import subprocess
import sys
from pathlib import Path

from tests.clients.scenarios.report import Report, digest, task


def pipeline(folder, language="en", name="core_web_sm"):
    """Pack a pipeline that splits sentences, under the *name* of a model of *language*."""
    import spacy  # noqa: PLC0415

    made = spacy.blank(language)
    made.add_pipe("sentencizer")
    made.to_disk(folder / "pipeline")
    command = [sys.executable, "-m", "spacy", "package", folder / "pipeline", folder]
    options = ["--name", name, "--version", "3.8.0", "--build", "wheel"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    wheel = next(folder.rglob("*.whl"))
    wheel.rename(folder / wheel.name)
    return [wheel.name, digest(folder / wheel.name)]


def main():
    """Make it."""
    folder = Path(task()["folder"])
    report = Report()
    report.case("pipeline", lambda: pipeline(folder))
    report.send()


if __name__ == "__main__":
    main()
