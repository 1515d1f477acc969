"""Composed answers about a repo: description, file list, some paths, references.

They come from the stored snapshot, so a listing of any sub-folder, page size or depth is answered without
asking upstream, and the same way when upstream is gone.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from mirror.errors import OfflineError
from mirror.hubs.base import Facts
from mirror.hubs.huggingface import asking
from mirror.hubs.huggingface.adopted import description, partly, warning
from mirror.hubs.huggingface.answers import document, json_document, passed
from mirror.hubs.huggingface.entries import array, sibling, written
from mirror.hubs.huggingface.files import staleness
from mirror.hubs.huggingface.grammar import is_commit, quoted_path, quoted_revision, shown
from mirror.hubs.huggingface.links import cursor_after, next_link, without_xet
from mirror.hubs.huggingface.questions import PathsInfo, RepoInfo, RepoRefs, RepoTree
from mirror.hubs.huggingface.refusals import entry_not_found
from mirror.hubs.huggingface.walks import Ground, Walks, canonical, ground
from mirror.messages import Answer, UpstreamRequest
from mirror.names import Access, Entry

_PAGE: Final = 1000
# What a listing shows as the date of a commit whose date nobody told: clients only parse it.
_NO_DATE: Final = "1970-01-01T00:00:00.000Z"


class Listings:
    """Answers from snapshots.

    *walks* tells which reply belongs to a question; *tree_limit* is the most entries one snapshot has.
    """

    def __init__(self, walks: Walks, tree_limit: int) -> None:
        self._walks = walks
        self._tree_limit = tree_limit

    def info(self, question: RepoInfo, facts: Facts, base_url: str) -> Answer:
        """Answer with the repo's description; raises `OfflineError` when it is not known."""
        at = ground(question, question.revision, facts)
        warned = staleness(at.repo, question.revision, facts)
        if question.query or (question.blobs and not at.complete):
            reply = facts.reply(asking.reply_key(self._walks.request_of(question, facts)))
            if reply is not None:
                return passed(reply.response, base_url)
        if at.snapshot is not None and not at.snapshot.info and at.adopted:
            described = self._composed(question, at, facts)
            return json_document(described, *warned, *warning(at, facts))
        if at.snapshot is None or not at.snapshot.info:
            raise OfflineError(
                f"modelmirror has no description of {_named(at, question.revision)}."
            )
        chained = question.chained and facts.admitted(at.repo, Access.READ)
        info = at.snapshot.info if chained else without_xet(at.snapshot.info)
        if not question.blobs and not question.expand:
            return document(info, *warned)
        described = json.loads(info)
        if question.blobs:
            if not at.complete:
                raise OfflineError(
                    f"modelmirror does not know every file of {_named(at, question.revision)}."
                )
            files = (entry for entry in self._entries(at, facts) if entry.kind != "directory")
            described["siblings"] = [sibling(entry, blobs=True) for entry in files]
        if question.expand:
            wanted = {"_id", "id", "modelId", *question.expand}
            described = {key: item for key, item in described.items() if key in wanted}
        return json_document(described, *warned)

    def tree(self, question: RepoTree, facts: Facts, base_url: str) -> Answer:
        """Answer with one page of a file list; raises `OfflineError` when it is not known."""
        at = ground(question, question.revision, facts)
        if at.commit is None:
            raise OfflineError(f"modelmirror has no file list of {_named(at, question.revision)}.")
        if question.expand or question.foreign or not at.complete:
            reply = facts.reply(asking.reply_key(self._walks.request_of(question, facts)))
            if reply is not None:
                return passed(reply.response, base_url)
        named = _named(at, question.revision)
        if question.foreign:
            msg = f"modelmirror does not have that page of the file list of {named}."
            raise OfflineError(msg, hint="Begin the list again.")
        if not at.complete:
            raise OfflineError(f"modelmirror has no file list of {named}.", hint=partly(at, facts))
        folder = question.folder
        if folder:
            entry = facts.entry(at.repo, at.commit, folder)
            if entry is None or entry.kind != "directory":
                return entry_not_found(folder, question.revision, at.commit)
        found = facts.listing(
            at.repo,
            at.commit,
            folder,
            recursive=question.recursive,
            after=question.after,
            limit=question.limit + 1,
        )
        page = found[: question.limit]
        reader = facts.admitted(at.repo, Access.READ)
        more = _last_commit(at) if question.expand else None
        headers = [("X-Repo-Commit", at.commit), *staleness(at.repo, question.revision, facts)]
        if len(found) > question.limit:
            target = _tree_target(question, at, page[-1].path)
            headers.append(("Link", next_link(target, base_url)))
        return document(
            array(
                written(entry, reader=reader, chained=question.chained, more=more) for entry in page
            ),
            *headers,
        )

    def paths(self, question: PathsInfo, facts: Facts, base_url: str) -> Answer:
        """Answer with the entries of the asked paths that exist, in the order they were asked."""
        at = ground(question, question.revision, facts)
        if at.commit is None:
            raise OfflineError(f"modelmirror does not know {_named(at, question.revision)}.")
        if question.expand:
            reply = facts.reply(asking.reply_key(self._walks.request_of(question, facts)))
            if reply is not None:
                return passed(reply.response, base_url)
        more = _last_commit(at) if question.expand else None
        reader = facts.admitted(at.repo, Access.READ)
        elements = []
        for path in dict.fromkeys(question.paths):
            entry = facts.entry(at.repo, at.commit, path)
            if entry is not None:
                elements.append(written(entry, reader=reader, chained=question.chained, more=more))
            elif not at.complete and not facts.absent(at.repo, at.commit, path):
                raise OfflineError(
                    f"modelmirror does not know {shown(path)} of {_named(at, question.revision)}.",
                    hint=partly(at, facts),
                )
        return document(array(elements), *staleness(at.repo, question.revision, facts))

    def refs(self, question: RepoRefs, facts: Facts, base_url: str) -> Answer:
        """Answer with upstream's list of references, else with the revisions seen so far."""
        reply = facts.reply(asking.reply_key(self._walks.request_of(question, facts)))
        if reply is not None:
            return passed(reply.response, base_url)
        repo = canonical(question, facts)
        listed: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": []}
        if question.prs:
            listed["pullRequests"] = []
        for ref in facts.refs(repo):
            if is_commit(ref.revision):
                continue
            group, name, full = _ref_names(ref.revision)
            if group in listed:
                listed[group].append({"name": name, "ref": full, "targetCommit": ref.commit})
        if not any(listed.values()):
            raise OfflineError(f"modelmirror knows no branch of {repo.name}.")
        return json_document(listed)

    def _composed(self, question: RepoInfo, at: Ground, facts: Facts) -> dict[str, Any]:
        """Describe a commit that upstream has not described yet by its files as they are known."""
        files = [entry for entry in self._entries(at, facts) if entry.kind != "directory"]
        described = description(at, facts, [sibling(e, blobs=question.blobs) for e in files])
        wanted = {"_id", "id", "modelId", *question.expand} if question.expand else set(described)
        return {key: item for key, item in described.items() if key in wanted}

    def _entries(self, at: Ground, facts: Facts) -> Iterator[Entry]:
        after, seen = "", 0
        while at.commit is not None and seen <= self._tree_limit:
            page = facts.listing(at.repo, at.commit, "", recursive=True, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            seen += len(page)
            after = page[-1].path


def _ref_names(revision: str) -> tuple[str, str, str]:
    """Group, short and full name of a reference, as the Hub lists it."""
    if revision.startswith("refs/pr/"):
        return "pullRequests", revision.removeprefix("refs/pr/"), revision
    if revision.startswith("refs/convert/"):
        return "converts", revision.removeprefix("refs/convert/"), revision
    name = revision.removeprefix("refs/heads/")
    return "branches", name, f"refs/heads/{name}"


def _named(at: Ground, revision: str) -> str:
    return f"{at.repo.name} at {shown(revision)}"


def _last_commit(at: Ground) -> dict[str, Any]:
    """Stand in for what only ``expand`` tells: the snapshot's own commit, no scan result."""
    info = json.loads(at.snapshot.info) if at.snapshot is not None and at.snapshot.info else {}
    date = info.get("lastModified") or _NO_DATE
    return {"lastCommit": {"id": at.commit, "title": "", "date": date}}


def _tree_target(question: RepoTree, at: Ground, last: str) -> str:
    """The target of the page after *last*; it names the commit, so that pages never mix two."""
    folder = f"/{quoted_path(question.folder)}" if question.folder else ""
    query = (
        f"recursive={str(question.recursive).lower()}&expand={str(question.expand).lower()}"
        f"&limit={question.limit}&cursor={cursor_after(last)}"
    )
    return f"/api/{at.repo.name}/tree/{quoted_revision(at.commit or '')}{folder}?{query}"


def reply_answer(request: UpstreamRequest, facts: Facts, base_url: str) -> Answer:
    """Answer with upstream's reply to *request*; raises `OfflineError` when there is none."""
    reply = facts.reply(asking.reply_key(request))
    if reply is None:
        raise OfflineError(f"The Hub cannot be asked now, and modelmirror has no {request.target}.")
    return passed(reply.response, base_url)
