"""The listing of a dataset's converted parquet files."""

from urllib.parse import quote

from tests.origin.access import Call, admit, refused
from tests.origin.wire import Reply, json_reply, text_reply

_ref = "refs/convert/parquet"


def parquet(call: Call, rest: list[str]) -> Reply:
    """Answer ``/parquet[/{config}[/{split}[/{n}.parquet]]]``; URLs inside are absolute."""
    admit(call)
    if call.repo.kind != "datasets":
        raise refused(404, "Not found")
    commit = call.repo.resolve(_ref)
    if commit is None:
        raise refused(404, "No parquet files for this dataset")
    shards: dict[str, dict[str, list[str]]] = {}
    for path in sorted(commit.files):
        parts = path.split("/")
        if len(parts) == 3 and path.endswith(".parquet"):
            shards.setdefault(parts[0], {}).setdefault(parts[1], []).append(path)
    api = f"{call.api}/parquet"
    urls = {
        config: {
            split: [f"{api}/{quote(config)}/{quote(split)}/{n}.parquet" for n in range(len(paths))]
            for split, paths in splits.items()
        }
        for config, splits in shards.items()
    }
    try:
        match rest:
            case []:
                return json_reply(urls)
            case [config]:
                return json_reply(urls[config])
            case [config, split]:
                return json_reply(urls[config][split])
            case [config, split, name]:
                path = shards[config][split][int(name.removesuffix(".parquet"))]
                target = f"{call.repo.web_path}/resolve/{quote(_ref, safe='')}/{quote(path)}"
                location = f"{call.world.hub_url}{target}"
                return text_reply(
                    f"Found. Redirecting to {location}", {"Location": location}, status=302
                )
            case _:
                pass
    except (KeyError, IndexError, ValueError):
        pass
    raise refused(404, "Not found")
