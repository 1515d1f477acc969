"""What the hosts of a story have: small models under the names of the large ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.clients.client import client_environment, run_scenario
from tests.clients.elsewhere import Elsewhere
from tests.clients.environments import Environment

_LFS = ("*.ckpt", "*.safetensors", "*.model", "*.bin", "*.onnx")


def made(
    environment: Environment,
    folder: Path,
    models: Sequence[str],
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Let the libraries make models (`tests.clients.scenarios.story_models`); what each told, by its name."""
    task = {"folder": str(folder), "models": list(models)}
    nowhere = client_environment(folder / "home", "http://none", extra=variables)
    report = run_scenario(environment, "story_models", task, nowhere)
    return {name: report[name].got() for name in models}


def repo(upstream: Elsewhere, name: str, folder: Path) -> None:
    """Publish the files of a folder as a model repo of the Hub."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    assert files, folder
    upstream.origin.add_repo("models", name, files=files, lfs=_LFS)
