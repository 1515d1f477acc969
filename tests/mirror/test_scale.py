"""Repos of many files: the list comes once, nobody waits for all of it, and pages stay small."""

import pytest

from tests.mirror.running import Running, files_below
from tests.origin import Fault, Origin

FILES = 100_000


@pytest.mark.slow
def test_a_repo_of_100_000_files_is_listed_once_and_served_from_here(
    mirror: Running, origin: Origin
) -> None:
    """A file of it is had at once while the list is read behind; afterwards upstream is not asked."""
    files = {f"{n % 100:02}/part-{n:06}.txt": b"%d" % n for n in range(FILES)}
    repo = origin.add_repo("datasets", "acme/huge", files=dict(files))
    before = mirror.rss()

    got = mirror.ask("/datasets/acme/huge/resolve/main/42/part-000042.txt")
    assert got.body == b"42"
    head = mirror.ask(
        f"/datasets/acme/huge/resolve/{repo.commit}/99/part-099999.txt", method="HEAD"
    )
    assert (head.status, head.headers["x-linked-size"]) == (200, "5")

    seen: list[str] = []
    target = f"/api/datasets/acme/huge/tree/{repo.commit}?recursive=true&expand=false"
    while target:
        page = mirror.ask(target, timeout=120)
        assert page.status == 200
        rows = page.json()
        assert len(rows) <= 1000
        seen += [row["path"] for row in rows if row["type"] == "file"]
        link = page.headers.get("link", "")
        target = link.partition(">")[0].removeprefix("<").removeprefix(mirror.url) if link else ""
    assert sorted(seen) == sorted(files)

    _until_complete(mirror, repo.commit)
    origin.clear_log()
    head = mirror.ask(
        f"/datasets/acme/huge/resolve/{repo.commit}/17/part-077717.txt", method="HEAD"
    )
    missing = mirror.ask(f"/datasets/acme/huge/resolve/{repo.commit}/17/none.txt", method="HEAD")
    folder = mirror.ask(f"/api/datasets/acme/huge/tree/{repo.commit}/17?recursive=false&limit=10")
    assert (head.status, missing.status, len(folder.json())) == (200, 404, 10)
    assert origin.log == []
    # With the record of it, which is written behind.
    records = mirror.data / "v1" / "records"
    mirror.wait_for(lambda: any(size > 1 << 20 for _, size in files_below(records)))
    assert mirror.rss() - before < 192 << 20


def test_a_slow_list_does_not_keep_a_file_waiting(mirror: Running, origin: Origin) -> None:
    """While the list's first page takes 30 s, a file is answered by its own path within seconds."""
    origin.add_repo("models", "acme/slow", files={"config.json": b"{}", "b.txt": b"b"})
    origin.fault(Fault(server="hub", path=r"/tree/", action="delay", seconds=30))

    got = mirror.ask("/acme/slow/resolve/main/config.json", timeout=10)

    assert (got.status, got.body) == (200, b"{}")
    assert len(origin.seen(server="hub", method="POST", path=r"/paths-info/")) == 1


def test_a_repo_above_the_limit_stays_per_path(mirror: Running, origin: Origin) -> None:
    """With more entries than the limit the list is given up, and absence is proved path by path."""
    mirror.stop()
    mirror.settings = {"MODELMIRROR_HUGGINGFACE_TREE_LIMIT": "1500"}
    mirror.start()
    files = {f"part-{n:04}.txt": b"%d" % n for n in range(2500)}
    repo = origin.add_repo("datasets", "acme/large", files=dict(files))

    assert mirror.ask("/datasets/acme/large/resolve/main/part-2400.txt").body == b"2400"
    missing = mirror.ask(f"/datasets/acme/large/resolve/{repo.commit}/none.txt", method="HEAD")
    assert (missing.status, missing.headers["x-error-code"]) == (404, "EntryNotFound")
    assert origin.seen(server="hub", path=r"/paths-info/") != []
    origin.clear_log()
    again = mirror.ask(f"/datasets/acme/large/resolve/{repo.commit}/part-2400.txt")
    assert again.body == b"2400"
    gone = mirror.ask(f"/datasets/acme/large/resolve/{repo.commit}/none.txt", method="HEAD")
    assert gone.status == 404
    assert origin.log == []


def _until_complete(mirror: Running, commit: str) -> None:
    """Wait until the whole list is here: then a page of ours leads on to a page of ours."""
    for _ in range(600):
        page = mirror.ask(f"/api/datasets/acme/huge/tree/{commit}?recursive=true&limit=2")
        if "cursor=mm-" in page.headers.get("link", ""):
            return
    pytest.fail("the list never became complete")
