"""A real browser, driven over its own protocol: pages as they look, in every size and both colour schemes."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

_SECONDS: Final = 60
_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0",
)  # fmt: skip

# Texts that are too faint before what is behind them: WCAG 2.2 §1.4.3 wants 4.5 to 1, and 3 of large ones.
CONTRAST: Final = """
(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length && colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const [ink, paper] = [light(parse(style.color)), light(behind(node))].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= 24;
    if ((ink + 0.05) / (paper + 0.05) < (large ? 3 : 4.5)) found.push(walk.currentNode.data.trim());
  }
  return found;
})()
"""
# What sticks out of the page to the right, which a phone would have to be pushed about for.
OVERFLOW: Final = """
[...document.body.querySelectorAll("*")]
  .filter((node) => node.getBoundingClientRect().right > document.documentElement.clientWidth + 1
    && !node.closest(".table, .skip"))
  .map((node) => node.outerHTML.slice(0, 120))
"""


@dataclass(frozen=True, slots=True)
class Screen:
    """What a page is shown on: *width* in CSS pixels."""

    name: str
    width: int
    dark: bool = False


class Page:
    """One tab; `complaints` are what the browser says of the page: errors, and what its policy forbids."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._loaded = asyncio.Event()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []

    async def listen(self) -> None:
        """Take in what the browser says until it ends."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif said["method"] == "Log.entryAdded":
                self.complaints.append(said["params"]["entry"]["text"])
            elif said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Order the browser about."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        said = await asyncio.wait_for(answer, _SECONDS)
        assert "error" not in said, said
        return dict(said["result"])

    async def show(self, url: str, screen: Screen, *, scripts: bool = True) -> None:
        """Open *url* on *screen* and wait until it is loaded."""
        await self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=screen.width, height=900, deviceScaleFactor=1, mobile=screen.width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if screen.dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await self.loaded()

    async def loaded(self) -> None:
        """Wait until the page that is coming is there."""
        await asyncio.wait_for(self._loaded.wait(), _SECONDS)
        self._loaded.clear()

    async def value(self, expression: str) -> Any:
        """What *expression* is in the page."""
        said = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until *expression* holds in the page."""
        async with asyncio.timeout(_SECONDS):
            while not await self.value(expression):  # noqa: ASYNC110 -- the page tells nobody
                await asyncio.sleep(0.05)

    async def picture(self, file: Path) -> bytes:
        """Take a picture of the whole page, keep it in *file* and return it."""
        said = await self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        file.parent.mkdir(parents=True, exist_ok=True)
        data = base64.b64decode(said["data"])
        await asyncio.to_thread(file.write_bytes, data)
        return data


@contextlib.asynccontextmanager
async def browser(chromium: str, home: Path) -> AsyncIterator[Page]:
    """Run *chromium* with a profile of its own in *home*, and give its first tab."""
    process = await asyncio.create_subprocess_exec(
        chromium, *_FLAGS, f"--user-data-dir={home}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(_SECONDS):
            while not (
                found := re.search(rb"ws://([^/]+)/", line := await process.stderr.readline())
            ):
                assert line, "Chromium did not start"
        host = found[1].decode()
        drain = asyncio.ensure_future(_drain(process.stderr))
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{host}/json") as answer:
                tabs = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(
                tabs[0]["webSocketDebuggerUrl"], max_msg_size=0
            ) as socket:
                page = Page(socket)
                listening = asyncio.ensure_future(page.listen())
                for domain in ("Page", "Log", "Runtime"):
                    await page.call(f"{domain}.enable")
                yield page
                listening.cancel()
        drain.cancel()
    finally:
        process.kill()
        await process.wait()


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass
