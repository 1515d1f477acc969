"""The lines of the journal: what they say, and how each is written as one JSON object.

::

    {"link": ["git-sha1:…", "sha256:…"]}
    {"ref": {"hub": …, "repo": …, "revision": …, "commit": …, "seen_at": …}}
    {"alias": {"hub": …, "name": …, "to_hub": …, "repo": …, "id": …, "seen_at": …}}
    {"visibility": {"hub": …, "repo": …, "private": …, "gated": …, "seen_at": …}}
    {"note": {"kind": "pin", "subject": …, "value": {…}}}           a value of null withdraws it
    {"unlink": "source:…"}                                          the next link of it is a first one
    {"forget": {"hub": …, "repo": …, "commit": …}}                  a commit of "" is the whole repo

The last two take back what was said before them, and have no meaning of their own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mirror.digest import Digest
from mirror.index.codec import moment, typed
from mirror.names import Alias, Ref, Repo, Visibility


@dataclass(frozen=True, slots=True)
class Link:
    """What *name* (a git sha1, a source) names is stored as *sha256*."""

    name: Digest
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Note:
    """The operator's word or a first use: *kind* is ``pin``, ``grant``, ``first-use``, ….

    *subject* is what it is about and *value* what it says, JSON-ready; `None` withdraws it.
    """

    kind: str
    subject: str
    value: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Unlink:
    """What *name* is stored as is to be found out anew."""

    name: Digest


@dataclass(frozen=True, slots=True)
class Forget:
    """What was said of *commit* of *repo*, or of all of *repo* where that is empty, holds no longer."""

    repo: Repo
    commit: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A sound line of a kind that is not known here; it is kept as it is."""

    text: bytes


Line: TypeAlias = Link | Ref | Alias | Visibility | Note | Unlink | Forget


def encode(line: Line) -> bytes:
    """Write *line* as one JSON object and a newline."""
    return json.dumps(_form(line), separators=(",", ":")).encode("ascii") + b"\n"


def decode(text: bytes) -> Line | Unknown | None:
    """Read a line back; `None` for one that is torn or otherwise no JSON object with one name."""
    try:
        ((kind, form),) = json.loads(text).items()
        read = _READERS.get(kind)
        return Unknown(text) if read is None else read(form)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _link(form: Any) -> Link:
    name, sha256 = form
    return Link(Digest.parse(name), Digest.parse(sha256))


def _ref(form: Any) -> Ref:
    revision, commit = typed(str, form["revision"]), typed(str, form["commit"])
    return Ref(_repo(form["hub"], form["repo"]), revision, commit, moment(form["seen_at"]))


def _alias(form: Any) -> Alias:
    asked, repo = _repo(form["hub"], form["name"]), _repo(form["to_hub"], form["repo"])
    return Alias(asked, repo, typed(str, form["id"]), moment(form["seen_at"]))


def _visibility(form: Any) -> Visibility:
    private, gated = typed(bool, form["private"]), typed(bool, form["gated"])
    return Visibility(_repo(form["hub"], form["repo"]), private, gated, moment(form["seen_at"]))


def _note(form: Any) -> Note:
    value = form["value"] if form["value"] is None else typed(dict, form["value"])
    return Note(typed(str, form["kind"]), typed(str, form["subject"]), value)


def _unlink(form: Any) -> Unlink:
    return Unlink(Digest.parse(form))


def _forget(form: Any) -> Forget:
    return Forget(_repo(form["hub"], form["repo"]), typed(str, form["commit"]))


_READERS: Final[Mapping[str, Callable[[Any], Line]]] = {
    "link": _link,
    "ref": _ref,
    "alias": _alias,
    "visibility": _visibility,
    "note": _note,
    "unlink": _unlink,
    "forget": _forget,
}


def _repo(hub: Any, name: Any) -> Repo:
    return Repo(typed(str, hub), typed(str, name))


def subject(line: Line | Unknown) -> tuple[object, ...]:
    """What *line* is about; a later line about the same overrules it."""
    match line:
        case Link() | Unlink():
            return (Link, line.name)
        case Forget():
            return (Forget, line.repo, line.commit)
        case Ref():
            return (Ref, line.repo, line.revision)
        case Alias():
            return (Alias, line.asked)
        case Visibility():
            return (Visibility, line.repo)
        case Note():
            return (Note, line.kind, line.subject)
        case Unknown():
            return (Unknown, line.text)


def _form(line: Line) -> dict[str, Any]:
    match line:
        case Link():
            return {"link": [str(line.name), str(line.sha256)]}
        case Ref():
            return {
                "ref": {
                    "hub": line.repo.hub,
                    "repo": line.repo.name,
                    "revision": line.revision,
                    "commit": line.commit,
                    "seen_at": line.seen_at,
                }
            }
        case Alias():
            return {
                "alias": {
                    "hub": line.asked.hub,
                    "name": line.asked.name,
                    "to_hub": line.repo.hub,
                    "repo": line.repo.name,
                    "id": line.upstream_id,
                    "seen_at": line.seen_at,
                }
            }
        case Visibility():
            return {
                "visibility": {
                    "hub": line.repo.hub,
                    "repo": line.repo.name,
                    "private": line.private,
                    "gated": line.gated,
                    "seen_at": line.seen_at,
                }
            }
        case Unlink():
            return {"unlink": str(line.name)}
        case Forget():
            repo = line.repo
            return {"forget": {"hub": repo.hub, "repo": repo.name, "commit": line.commit}}
        case Note():
            value = None if line.value is None else dict(line.value)
            return {"note": {"kind": line.kind, "subject": line.subject, "value": value}}


class Holding:
    """The lines that hold, each with its text, as one is read after the other; `live` has them by subject."""

    def __init__(self) -> None:
        self.live: dict[object, tuple[Line | Unknown, bytes]] = {}
        self._about: dict[Repo, set[object]] = {}  # what was said of a repo, by its subjects

    def take(self, line: Line | Unknown, text: bytes) -> None:
        """Read the next line: later ones overrule earlier ones, but for links, whose first word stands."""
        about = subject(line)
        if isinstance(line, Link) and about in self.live:
            return
        if isinstance(line, Forget):
            self._forget(line)
            return
        # Taken out first, so that what is said again moves to the end.
        self.live.pop(about, None)
        if isinstance(line, Unlink) or (isinstance(line, Note) and line.value is None):
            return
        self.live[about] = line, text
        for repo in _repos(line):
            self._about.setdefault(repo, set()).add(about)

    def _forget(self, line: Forget) -> None:
        for about in list(self._about.get(line.repo, ())):
            said, _ = self.live.get(about, (None, b""))
            if said is None or not line.commit:
                self.live.pop(about, None)
            elif isinstance(said, Ref) and said.commit == line.commit:
                del self.live[about]


def _repos(line: Line | Unknown) -> tuple[Repo, ...]:
    match line:
        case Ref() | Visibility():
            return (line.repo,)
        case Alias():
            return (line.asked, line.repo)
        case _:
            return ()
