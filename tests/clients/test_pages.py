"""The mirror's own pages in a real browser: empty, busy and full, on a desk and on a phone, light and dark.

The pictures are kept in the folder that MODELMIRROR_SCREENSHOTS names, to be looked at; without it they go
with the test.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import struct
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.clients.available import program
from tests.clients.browser import CONTRAST, OVERFLOW, Page, Screen, browser
from tests.clients.mirror_process import running_mirror
from tests.origin import Fault, Origin

DESK: Final = Screen("desk", 1100)
SCREENS: Final = (
    DESK,
    Screen("desk-dark", 1100, dark=True),
    Screen("phone", 360),
    Screen("phone-dark", 360, dark=True),
)
LONG: Final = (
    "a-research-laboratory-with-a-name/whisper-large-v3-turbo-quantised-w4a16-g128-in-many-words"
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go."""
    return Path(os.environ.get("MODELMIRROR_SCREENSHOTS") or tmp_path / "pictures")


@pytest.fixture
def slow(origin: Origin) -> Iterator[None]:
    """Large files come at 300 KB/s."""
    origin.fault(Fault("drip", path=r"slow", rate=300_000, times=None))
    yield
    origin.clear_faults()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310
        return bytes(answer.read())


def _rows(png: bytes) -> int:
    """How many different rows of pixels a picture has: a page that did not come has one."""
    width, _, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, kind) in {(8, 2), (8, 6)}
    data, at = b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    row = width * (3 if kind == 2 else 4) + 1
    raw = zlib.decompress(data)
    return len({raw[start : start + row] for start in range(0, len(raw), row)})


async def _looks_good(page: Page, url: str, screen: Screen, file: Path) -> None:
    """Nothing sticks out, every text is told from what is behind it, and the browser has no complaint."""
    await page.show(url, screen)
    assert await page.value(OVERFLOW) == []
    assert await page.value(CONTRAST) == []
    assert _rows(await page.picture(file)) > 50
    assert page.complaints == []


def test_pages_look_good_empty_busy_and_full(
    origin: Origin, direct: bool, tmp_path: Path, pictures: Path, slow: None  # noqa: FBT001
) -> None:  # fmt: skip
    """In each state and on each screen: nothing is cut off, all of it can be read, nothing is refused."""
    del slow
    if direct:
        pytest.skip("the browser is set before a mirror")
    chromium = program("chromium", "chromium")
    for number in range(55):
        name = f"{LONG}-{number}" if number % 9 == 0 else f"acme/model-{number}"
        origin.add_repo("models", f"{name}-shown", files={"config.json": name.encode() * 2000})
    files = {f"part-{number}.safetensors": b"x" * 9000 for number in range(9)}
    origin.add_repo("models", "acme/slow-one", files={**files, "slow.bin": os.urandom(3_000_000)})
    origin.add_repo("datasets", "acme/slow-two", files={"a/slow.parquet": os.urandom(3_000_000)})

    async def main() -> None:
        with running_mirror(
            origin, tmp_path / "mirror", settings={"MODELMIRROR_QUOTA": "10MiB"}
        ) as mirror:
            async with browser(chromium, tmp_path / "profile") as page:
                for screen in SCREENS:
                    await _looks_good(
                        page, f"{mirror.url}/", screen, pictures / f"empty-{screen.name}.png"
                    )
                assert await page.value("document.body.innerText.includes('Nothing yet')")
                with concurrent.futures.ThreadPoolExecutor(4) as pool:
                    loop = asyncio.get_running_loop()
                    paths = ("acme/slow-one/resolve/main/slow.bin",
                             "datasets/acme/slow-two/resolve/main/a/slow.parquet")  # fmt: skip
                    coming = [
                        loop.run_in_executor(pool, _get, f"{mirror.url}/{path}") for path in paths
                    ]
                    await _busy(page, mirror.url, pictures)
                    await asyncio.gather(*coming)
                    for number in range(55):
                        name = f"{LONG}-{number}" if number % 9 == 0 else f"acme/model-{number}"
                        url = f"{mirror.url}/{name}-shown/resolve/main/config.json"
                        await loop.run_in_executor(pool, _get, url)
                    for path in (*paths, *(f"acme/slow-one/resolve/main/{file}" for file in files)):
                        await loop.run_in_executor(pool, _get, f"{mirror.url}/{path}")
                for screen in SCREENS:
                    await _looks_good(
                        page, f"{mirror.url}/", screen, pictures / f"full-{screen.name}.png"
                    )
                    repo = f"{mirror.url}/-/repo/huggingface/models/acme/slow-one"
                    await _looks_good(page, repo, screen, pictures / f"repo-{screen.name}.png")
                long = f"{mirror.url}/-/repo/huggingface/models/{LONG}-0-shown"
                await _looks_good(page, long, SCREENS[2], pictures / "repo-long-phone.png")

    asyncio.run(main())


async def _busy(page: Page, url: str, pictures: Path) -> None:
    """The page while two files come in: their progress moves by itself, at about the rate they come."""
    await page.show(f"{url}/", DESK)
    await page.until("document.querySelectorAll('#fills progress').length === 2")
    for screen in SCREENS:
        await _looks_good(page, f"{url}/", screen, pictures / f"busy-{screen.name}.png")
    shown = "[...document.querySelectorAll('#fills progress')].map((bar) => bar.value)"
    before = await page.value(shown)
    await page.until(f"{shown}.every((value, place) => value > {before}[place])")
    text = await page.value("document.querySelector('#fills').innerText")
    assert "acme/slow-one: slow.bin" in text
    assert "acme/slow-two: a/slow.parquet" in text
    assert "KiB/s" in text
    assert "left" in text


def test_pages_work_with_scripts_off(
    origin: Origin, direct: bool, tmp_path: Path  # noqa: FBT001
) -> None:  # fmt: skip
    """Searching, following a repo to its files, and fetching one of them need no script."""
    if direct:
        pytest.skip("the browser is set before a mirror")
    chromium = program("chromium", "chromium")
    origin.add_repo("models", "acme/plainly", files={"deep/a.json": b"{}", "b.json": b"[]"})
    origin.add_repo("models", "acme/otherly", files={"b.json": b"[1]"})

    async def main() -> None:
        with running_mirror(origin, tmp_path / "mirror") as mirror:
            for path in (
                "acme/plainly/resolve/main/deep/a.json",
                "acme/otherly/resolve/main/b.json",
            ):
                await asyncio.to_thread(_get, f"{mirror.url}/{path}")
            async with browser(chromium, tmp_path / "profile") as page:
                await page.show(f"{mirror.url}/", DESK, scripts=False)
                assert (
                    await page.value(
                        "document.querySelectorAll('#stored ~ .table tbody tr').length"
                    )
                    == 2
                )
                await page.value("document.querySelector('#q').value = 'PLAIN'")
                await page.value("document.querySelector('.search button').click()")
                await page.loaded()
                assert await page.value("location.search") == "?q=PLAIN"
                assert "acme/otherly" not in await page.value("document.body.innerText")
                for words in ("acme/plainly", "deep/"):
                    link = f"[...document.links].find((link) => link.textContent === '{words}').click()"
                    await page.value(link)
                    await page.loaded()
                file = "[...document.links].find((link) => link.textContent === 'a.json').href"
                assert await asyncio.to_thread(_get, await page.value(file)) == b"{}"
                assert page.complaints == []

    asyncio.run(main())


def test_page_says_when_the_mirror_is_gone(
    origin: Origin, direct: bool, tmp_path: Path  # noqa: FBT001
) -> None:  # fmt: skip
    """A page that is left open does not go on saying that all is well."""
    if direct:
        pytest.skip("the browser is set before a mirror")
    chromium = program("chromium", "chromium")

    async def main() -> None:
        async with browser(chromium, tmp_path / "profile") as page:
            with running_mirror(origin, tmp_path / "mirror") as mirror:
                await page.show(f"{mirror.url}/", DESK)
                assert await page.value("document.querySelector('#state').innerText") == "Online"
            await page.until("document.querySelector('#state').innerText.includes('not answer')")

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
