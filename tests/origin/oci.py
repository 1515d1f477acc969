"""The OCI face of GGUF repos, as llama.cpp and ollama pull them."""

import hashlib
import json

from tests.origin.access import Call, admit, no_entry, refused
from tests.origin.content import Content, Entry
from tests.origin.ranges import serve
from tests.origin.resolve import cdn_url
from tests.origin.wire import Reply, text_reply

_manifest_type = "application/vnd.docker.distribution.manifest.v2+json"
_config_type = "application/vnd.docker.container.image.v1+json"
_model_type = "application/vnd.ollama.image.model"
_projector_type = "application/vnd.ollama.image.projector"
_params_type = "application/vnd.ollama.image.params"
_params = b'{"stop":["<|im_end|>"]}'
_version = {"Docker-Distribution-Api-Version": "registry/2.0"}


def manifest(call: Call, tag: str) -> Reply:
    """Answer ``/v2/{repo}/manifests/{tag}``: the GGUF file whose name holds the tag.

    The keys ``ggufFile`` and ``mmprojFile`` are present for llama.cpp alone.
    """
    admit(call)
    model = _pick(call, tag)
    projector = next(
        (entry for path, entry in sorted(call.repo.head().files.items())
         if path.endswith(".gguf") and "mmproj" in path), None
    )  # fmt: skip
    config = _config(model)
    layers = [_layer(_model_type, f"sha256:{model.sha256}", model.size)]
    if projector is not None:
        layers.append(_layer(_projector_type, f"sha256:{projector.sha256}", projector.size))
    layers.append(_layer(_params_type, _digest(_params), len(_params)))
    row: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": _manifest_type,
        "config": _layer(_config_type, _digest(config), len(config)),
        "layers": layers,
    }
    if "llama-cpp" in call.request.headers.get("user-agent", ""):
        row["ggufFile"] = _file(model)
        if projector is not None:
            row["mmprojFile"] = _file(projector)
    body = json.dumps(row).encode()
    headers = {
        "Content-Type": _manifest_type,
        "Docker-Content-Digest": _digest(body),
        "ETag": f'"{_digest(body)}"',
        **_version,
    }
    return serve(call.request, Content(len(body), "", body), headers)


def blob(call: Call, digest: str) -> Reply:
    """Answer ``/v2/{repo}/blobs/{digest}``: small blobs at once, LFS contents from the CDN."""
    admit(call)
    name = digest.removeprefix("sha256:")
    if name in call.repo.lfs_contents:
        url = cdn_url(call.world, call.repo, name, name)
        headers = {"Location": url, "Docker-Content-Digest": digest, **_version}
        return text_reply(f"Temporary Redirect. Redirecting to {url}", headers, status=307)
    configs = (
        _config(entry) for path, entry in call.repo.head().files.items() if path.endswith(".gguf")
    )
    for data in (_params, *configs):
        if _digest(data) == digest:
            headers = {
                "Content-Type": "application/octet-stream",
                "ETag": f'"{digest}"',
                **_version,
            }
            return serve(call.request, Content(len(data), name, data), headers)
    raise refused(404, "Blob unknown to registry", headers=_version)


def _pick(call: Call, tag: str) -> Entry:
    head = call.repo.head()
    files = sorted(path for path in head.files if path.endswith(".gguf") and "mmproj" not in path)
    wanted = ("q4_k_m", "") if tag == "latest" else (tag.lower().removesuffix(".gguf"),)
    for part in wanted:
        for path in files:
            if part in path.lower():
                return head.files[path]
    raise no_entry(head, "The specified tag is not available in the repository.")


def _config(entry: Entry) -> bytes:
    return json.dumps(
        {
            "model_format": "gguf",
            "model_family": "llama",
            "file_type": entry.path,
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{entry.sha256}"]},
        }
    ).encode()


def _file(entry: Entry) -> dict[str, object]:
    return {
        "rfilename": entry.path,
        "blobId": f"sha256:{entry.sha256}",
        "size": entry.size,
        "lfs": {"sha256": entry.sha256, "size": entry.size, "pointerSize": len(entry.pointer)},
    }


def _layer(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
