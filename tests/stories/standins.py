"""Small weights in the place of large ones, in every process of a desk.

A few clients have the sha256 of the real weights in a table of their own, by name, and so has the mirror.
What is published instead has another one, so the tables get that: nothing else of a client is not its own.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.clients.environments import Environment

#: Tables by the module that has them: whisper's holds addresses, the mirror's the digest in them.
_ADDRESSES: Final = ("whisper", "_MODELS")
_DIGESTS: Final = ("mirror.hubs.whisper", "MODELS")
_PACKAGES: Final = "lib/python*/site-packages"
_WHISPER: Final = "https://openaipublic.azureedge.net/main/whisper/models/{digest}/{name}.pt"

_SITE: Final = '''
"""Gives tables of names other weights when the modules that hold them are loaded."""
import importlib.abc, importlib.machinery, json, os, sys

_TABLES = json.loads(os.environ["STANDINS"])


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in _TABLES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                for table, values in _TABLES[name].items():
                    getattr(module, table).update(values)

            spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Finder())
if sys.prefix == os.environ.get("BESIDE_PREFIX"):
    sys.path += os.environ["BESIDE"].split(os.pathsep)
'''


def beside(environment: Environment, *others: Environment) -> dict[str, str]:
    """Give the variables with which an environment has the packages of others too, after its own.

    An app may need what no one group of clients has; all of them have the same numpy and torch.
    """
    folders = [os.fspath(folder) for other in others for folder in other.path.glob(_PACKAGES)]
    return {"BESIDE_PREFIX": os.fspath(environment.path), "BESIDE": os.pathsep.join(folders)}


def whisper(models: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Give the variables with which stand-ins of Whisper's models are taken for them.

    Args:
        models: The sha256 of each stand-in, by the name of the model.
        folder: Where a module for start-up may be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE)
    addresses = {name: _WHISPER.format(digest=d, name=name) for name, d in models.items()}
    tables = {_ADDRESSES[0]: {_ADDRESSES[1]: addresses}, _DIGESTS[0]: {_DIGESTS[1]: dict(models)}}
    return {"PYTHONPATH": os.fspath(folder), "STANDINS": json.dumps(tables)}
