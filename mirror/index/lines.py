"""The lines of the journal: what they say, and how each is written as one JSON object.

::

    {"link": ["git-sha1:…", "sha256:…"]}
    {"ref": {"hub": …, "repo": …, "revision": …, "commit": …, "seen_at": …}}
    {"alias": {"hub": …, "name": …, "to_hub": …, "repo": …, "id": …, "seen_at": …}}
    {"visibility": {"hub": …, "repo": …, "private": …, "gated": …, "seen_at": …}}
    {"note": {"kind": "pin", "subject": …, "value": {…}}}           a value of null withdraws it
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

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
class Unknown:
    """A sound line of a kind that is not known here; it is kept as it is."""

    text: bytes


Line: TypeAlias = Link | Ref | Alias | Visibility | Note


def encode(line: Line) -> bytes:
    """Write *line* as one JSON object and a newline."""
    return json.dumps(_form(line), separators=(",", ":")).encode("ascii") + b"\n"


def decode(text: bytes) -> Line | Unknown | None:
    """Read a line back; `None` for one that is torn or otherwise no JSON object with one name."""
    try:
        ((kind, form),) = json.loads(text).items()
        match kind:
            case "link":
                name, sha256 = form
                return Link(Digest.parse(name), Digest.parse(sha256))
            case "ref":
                repo = _repo(form["hub"], form["repo"])
                revision, commit = typed(str, form["revision"]), typed(str, form["commit"])
                return Ref(repo, revision, commit, moment(form["seen_at"]))
            case "alias":
                asked, repo = _repo(form["hub"], form["name"]), _repo(form["to_hub"], form["repo"])
                return Alias(asked, repo, typed(str, form["id"]), moment(form["seen_at"]))
            case "visibility":
                repo = _repo(form["hub"], form["repo"])
                private, gated = typed(bool, form["private"]), typed(bool, form["gated"])
                return Visibility(repo, private, gated, moment(form["seen_at"]))
            case "note":
                value = form["value"] if form["value"] is None else typed(dict, form["value"])
                return Note(typed(str, form["kind"]), typed(str, form["subject"]), value)
            case _:
                return Unknown(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _repo(hub: Any, name: Any) -> Repo:
    return Repo(typed(str, hub), typed(str, name))


def subject(line: Line | Unknown) -> tuple[object, ...]:
    """What *line* is about; a later line about the same overrules it."""
    match line:
        case Link():
            return (Link, line.name)
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
        case Note():
            value = None if line.value is None else dict(line.value)
            return {"note": {"kind": line.kind, "subject": line.subject, "value": value}}
