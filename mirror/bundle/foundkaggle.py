"""kagglehub's cache (1.0.3): ``models/<owner>/<model>/<framework>/<variation>/<version>/…``.

Beside the folder of a version that is whole lies ``<version>.complete``. Nothing is published of the files
but an MD5 that upstream's storage tells, and a model may be its owner's alone: what was downloaded with an
account is not for everybody.
"""

import json
import re
from typing import Final
from urllib.parse import quote

from mirror.bundle.found import Found, FoundAddress, FoundDocument, content
from mirror.bundle.foundtree import Tree, join
from mirror.names import Repo

_SITE: Final = "www.kaggle.com"
_API: Final = "api.kaggle.com"
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_MARKER: Final = re.compile(
    rf"(?:.+/)?models/(?P<model>{_NAME}/{_NAME}/{_NAME}/{_NAME})/(?P<version>[0-9]+)\.complete\Z"
)
_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[0-9])(?=[A-Z])")
# A client lists 25 files, and asks for one archive where there are more.
_PAGE: Final = 25


def scan(tree: Tree) -> Found:
    """Find every whole version of a model."""
    found = Found("kaggle")
    for path in tree.files:
        marker = _MARKER.match(path)
        if marker is None:
            continue
        found.seen.add(path)
        folder = path.removesuffix(".complete")
        model, version = marker["model"], marker["version"]
        about = Repo("kaggle", f"{model}/{version}")
        base = f"/api/v1/models/{model}/{version}"
        files = [file for file in tree.below(folder) if file in tree.files]
        found.seen.update(tree.below(folder))
        for file in files:
            place = f"{base}/download/{quote(file[len(folder) + 1 :])}"
            what = content(tree, file)
            found.items.append(FoundAddress(_SITE, place, what, about, public=False, ask=True))
        if 0 < len(files) <= _PAGE:
            names = [file[len(folder) + 1 :] for file in files]
            found.items += _listings(model, int(version), names, about, tree.files[path].mtime)
        for file in tree.below(folder):
            if file in tree.links:
                found.skip(file, "It is a link.")
    return found


def _listings(
    model: str, version: int, names: list[str], about: Repo, seen_at: float
) -> list[FoundDocument]:
    """The list of files of a whole version, as either API of a client's would give it."""
    body = json.dumps({"files": [{"name": name} for name in names], "nextPageToken": ""}).encode()
    owner, slug, framework, variation = model.split("/")
    call = {
        "ownerSlug": owner,
        "modelSlug": slug,
        "framework": f"MODEL_FRAMEWORK_{_WORDS.sub('_', framework).upper()}",
        "instanceSlug": variation,
        "versionNumber": version,
        "pageSize": _PAGE,
    }
    post = json.dumps(call).encode()
    older = f"/api/v1/models/{join(model, str(version))}/files"
    query = f"page_size={_PAGE}"
    newer = "/v1/models.ModelApiService/ListModelInstanceVersionFiles"
    return [
        FoundDocument(_SITE, older, body, about, seen_at, query=query, public=False),
        FoundDocument(_API, newer, body, about, seen_at, post=post, public=False),
    ]
