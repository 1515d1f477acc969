"""huggingface_hub, any release: files, snapshots, listings, HfFileSystem and its command.

One script serves releases from 0.25 to 2.4, whose types differ; so it is checked by running it.
"""
# mypy: ignore-errors

import os
import subprocess
from pathlib import Path

import huggingface_hub
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download

from tests.clients.scenarios.report import Report, digest, digests, task


def cache_of(token):
    """Give each caller a cache of their own: people do not find each other's files."""
    return str(Path.home() / "caches" / (token or "anonymous"))


def downloads(report, asked):
    """Ask for single files, each with its own token or none."""
    for one in asked:
        report.case(
            "download " + one["name"],
            lambda one=one: digest(
                hf_hub_download(
                    one["repo_id"],
                    one["path"],
                    repo_type=one["kind"],
                    revision=one["revision"],
                    token=one["token"] or False,
                    cache_dir=cache_of(one["token"]),
                ),
            ),
        )


def snapshots(report, asked):
    """Ask for whole repos."""

    def snapshot(where):
        cache = cache_of(where["token"])
        return digests(snapshot_download(**where, cache_dir=cache))

    for name, where in asked.items():
        report.case("snapshot " + name, lambda where=where: snapshot(where))


def listings(report, tiny, forty, private, reader, commit):
    """Ask what there is, in every way the library knows."""
    api = HfApi(token=False)

    def blobs():
        info = api.model_info(tiny, files_metadata=True)
        files = {
            file.rfilename: [file.size, file.lfs and file.lfs["sha256"]] for file in info.siblings
        }
        return {"id": info.id, "sha": info.sha, "files": files}

    def tree(repo_id, **where):
        return {
            entry.path: getattr(entry, "size", None)
            for entry in api.list_repo_tree(repo_id, **where)
        }

    def expanded():
        entries = api.list_repo_tree(tiny, "onnx", expand=True)
        return {entry.path: entry.last_commit is not None for entry in entries}

    def refs():
        found = api.list_repo_refs(tiny, include_pull_requests=True)
        return {
            "branches": {ref.name: ref.target_commit for ref in found.branches},
            "tags": {ref.name: ref.target_commit for ref in found.tags},
            "pull_requests": [ref.ref for ref in found.pull_requests or []],
        }

    def metadata():
        url = huggingface_hub.hf_hub_url(tiny, "model.safetensors")
        found = huggingface_hub.get_hf_file_metadata(url, token=False)
        xet = getattr(found, "xet_file_data", None)
        return [found.commit_hash, found.etag, found.size, xet is not None]

    def tensors():
        found = api.get_safetensors_metadata(tiny)
        return {
            name: found.files_metadata[file].tensors[name].shape
            for name, file in found.weight_map.items()
        }

    paths = ["config.json", "onnx", "nope"]

    def everything():
        info = api.model_info(tiny, files_metadata=True, securityStatus=True)
        return [info.id, info.sha]

    report.case("model_info", blobs)
    report.case("model_info of everything", everything)
    report.case("model_info at commit", lambda: api.model_info(tiny, revision=commit).sha)
    report.case("model_info renamed", lambda: api.model_info("acme/old-name").id)
    report.case("model_info gated", lambda: api.model_info("acme/gated").id)
    report.case("model_info private", lambda: api.model_info(private, token=reader).id)
    report.case("model_info private refused", lambda: api.model_info(private).id)
    report.case("dataset_info", lambda: api.dataset_info("acme/csvset").id)
    report.case("space_info", lambda: api.space_info("acme/demo").id)
    report.case("list_repo_files", lambda: api.list_repo_files(tiny))
    report.case("list_repo_files at commit", lambda: api.list_repo_files(tiny, revision=commit))
    report.case("tree", lambda: tree(tiny, recursive=True))
    report.case("tree of a folder", lambda: tree(tiny, path_in_repo="onnx"))
    report.case("tree expanded", expanded)
    report.case("tree of pages", lambda: tree(forty, recursive=True))
    report.case("tree private refused", lambda: tree(private))
    report.case(
        "paths_info",
        lambda: {entry.path: type(entry).__name__ for entry in api.get_paths_info(tiny, paths)},
    )
    report.case("refs", refs)
    report.case("file_exists", lambda: api.file_exists(tiny, "config.json"))
    report.case("file_exists not", lambda: api.file_exists(tiny, "nope.json"))
    report.case("repo_exists", lambda: api.repo_exists(tiny))
    report.case("repo_exists not", lambda: api.repo_exists("acme/nothing-here"))
    report.case("revision_exists", lambda: api.revision_exists(tiny, "v1"))
    report.case("metadata", metadata)
    report.case("safetensors", tensors)


def filesystem(report, tiny, odd):
    """Use the repos as a file system."""
    files = HfFileSystem(token=False, skip_instance_cache=True)
    target = Path.home() / "fs"
    target.mkdir(exist_ok=True)

    def window():
        with files.open(f"{tiny}/model.safetensors", "rb", block_size=4096) as stream:
            stream.seek(100_000)
            return stream.read(5000).hex()

    def fetched(path, name):
        files.get_file(f"{tiny}/{path}", str(target / name))
        return digest(target / name)

    report.case(
        "fs ls",
        lambda: {entry["name"]: entry["size"] for entry in files.ls(tiny, detail=True)},
    )
    report.case("fs glob", lambda: files.glob(f"{tiny}/**/*.json"))
    report.case("fs dataset", lambda: files.glob("datasets/acme/csvset/data/*"))
    report.case("fs window", window)
    report.case("fs text", lambda: files.read_text(f"{tiny}/{odd}"))
    report.case("fs get_file", lambda: fetched("model.safetensors", "model.safetensors"))
    report.case("fs get_file small", lambda: fetched("config.json", "config.json"))


def command(report, tiny):
    """Run the command that people type, with a cache of its own so that it has work to do."""
    cache = Path.home() / "command"
    variables = {**os.environ, "HF_HOME": str(cache)}
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "PYTHONPATH"):
        variables.pop(name, None)
    release = tuple(int(part) for part in huggingface_hub.__version__.split(".")[:2])
    program = "huggingface-cli" if release < (0, 34) else "hf"

    def run(*arguments, verb=("download",)):
        done = subprocess.run(
            [program, *verb, *arguments],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"exit {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def to_cache():
        run(tiny)
        (snapshot,) = (cache / "hub" / f"models--{tiny.replace('/', '--')}" / "snapshots").iterdir()
        return digests(snapshot)

    def to_folder():
        folder = Path.home() / "local-dir"
        run(tiny, "config.json", "model.safetensors", "--local-dir", str(folder))
        return digests(folder)

    report.case("command", to_cache)
    report.case("command --local-dir", to_folder)
    report.case("command missing file", lambda: run(tiny, "nope.json"))
    if release >= (1, 0):
        report.case("command --dry-run", lambda: run(tiny, "--dry-run"))
        report.case("command verify", lambda: run(tiny, verb=("cache", "verify")))


def main():
    """Run the families that the task names."""
    asked = task()
    report = Report()
    downloads(report, asked["downloads"])
    snapshots(report, asked["snapshots"])
    listings(report, **asked["listings"])
    filesystem(report, **asked["filesystem"])
    command(report, asked["filesystem"]["tiny"])
    if "untouched" in asked:
        repo_id = asked["untouched"]
        report.case("untouched", lambda: hf_hub_download(repo_id, "config.json", token=False))
    report.send()


if __name__ == "__main__":
    main()
