"""The start-up hook as the mirror hands it out: its files, its wheel, and a page that pip reads too.

They are made once and say what version they are of by a strong ETag. They open nothing, so they are for
everyone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from html import escape
from typing import Final

from mirror import __version__
from mirror.hook import FOLDER
from mirror.messages import Answer, RequestHead
from mirror.web.refusals import refusal

PREFIX: Final = "/-/hook"

# The page loads the home page's style and nothing else.
_PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILE_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_TEXT: Final = "text/plain; charset=utf-8"

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>modelmirror: start-up hook</title>
<link rel="stylesheet" href="{base}/-/static/home.css">
</head>
<body>
<header>
<h1>Start-up hook</h1>
<p class="about">version {version}</p>
</header>
<main>
<section>
<p>Leads Python programs that have no setting for it to this mirror: Whisper, torch.hub, TensorFlow Hub,
<code>spacy download</code>, kagglehub and others. It does nothing unless <code>MODELMIRROR_URL</code> is
set.</p>
<h2>As a package</h2>
<pre>pip install modelmirror-hook --no-index{trusted} \\
    --find-links {base}{prefix}/
export MODELMIRROR_URL={base}</pre>
<h2>As a folder</h2>
<pre>mkdir -p modelmirror-hook &amp;&amp; cd modelmirror-hook
curl -fO {base}{prefix}/modelmirror_hook.py \\
      -O {base}{prefix}/sitecustomize.py
export PYTHONPATH=$PWD MODELMIRROR_URL={base}</pre>
<h2>Files</h2>
<ul>
{links}
</ul>
</section>
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    kind: str

    @property
    def digest(self) -> str:
        return sha256(self.content).hexdigest()


class HookPages:
    """Answers what is asked below ``/-/hook``; the first question has the hook's files read."""

    @cached_property
    def _files(self) -> Mapping[str, _File]:
        from mirror.web.hookwheel import NAME, build  # noqa: PLC0415 -- imports zipfile

        sources = ("modelmirror_hook.py", "sitecustomize.py")
        return {
            **{name: _File((FOLDER / name).read_bytes(), _TEXT) for name in sources},
            NAME: _File(build(), "application/octet-stream"),
        }

    def owns(self, path: str) -> bool:
        """Whether *path* is one of these pages."""
        return path == PREFIX or path.startswith(f"{PREFIX}/")

    def answer(self, head: RequestHead) -> Answer:
        """Answer a request for the page or one of the files; 404 for a file that is not here."""
        name = head.path.removeprefix(PREFIX).removeprefix("/")
        if not name:
            return self._page(head.base_url)
        file = self._files.get(name)
        if file is None:
            return refusal(
                404,
                f"The hook of this mirror is version {__version__}: {', '.join(self._files)}.",
            )
        return _whole(file.content, file.kind, _FILE_POLICY, file.digest)

    def _page(self, base_url: str) -> Answer:
        base = escape(base_url)
        links = "\n".join(
            f'<li><a href="{base}{PREFIX}/{name}#sha256={file.digest}">{name}</a><br>'
            f"sha256 <code>{file.digest}</code></li>"
            for name, file in self._files.items()
        )
        page = _PAGE.format(
            base=base,
            prefix=PREFIX,
            version=escape(__version__),
            trusted=_trusted(base_url),
            links=links,
        ).encode()
        return _whole(page, "text/html; charset=utf-8", _PAGE_POLICY, sha256(page).hexdigest())


def _trusted(base_url: str) -> str:
    """The option without which pip passes over a plain address that is not this machine's."""
    scheme, _, rest = base_url.partition("://")
    return "" if scheme == "https" else f" --trusted-host {escape(rest.partition('/')[0])}"


def _whole(body: bytes, kind: str, policy: str, etag: str) -> Answer:
    headers = (
        ("Content-Type", kind),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", policy),
    )
    return Answer(200, headers, (body,), etag=etag, ranges=True, found="own")
