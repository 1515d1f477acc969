"""Answers that carry the content of a file: resolve, raw, and content asked for by its digest."""

from typing import Final

from mirror.digest import SHA256, Digest
from mirror.errors import OfflineError
from mirror.hubs.base import Facts
from mirror.hubs.huggingface import asking
from mirror.hubs.huggingface.adopted import partly
from mirror.hubs.huggingface.answers import CORS, OCTETS, PLAIN, document, file_head, header_text
from mirror.hubs.huggingface.entries import is_lfs, pointer_text
from mirror.hubs.huggingface.grammar import is_commit, shown, web_name
from mirror.hubs.huggingface.links import needs_xet
from mirror.hubs.huggingface.questions import RepoFile, StoredObject
from mirror.hubs.huggingface.refusals import entry_not_found, said
from mirror.hubs.huggingface.walks import canonical, expired, ground, known_entry, proved_absent
from mirror.messages import Answer, Span
from mirror.names import LISTED, Entry, Repo

_FOR_EVER: Final = "public, max-age=31536000, immutable"


def answer_file(question: RepoFile, facts: Facts, base_url: str) -> Answer:
    """Answer a resolve or raw request from the entry of its path.

    Raises `OfflineError` when neither the file nor its absence is known.
    """
    at = ground(question, question.revision, facts)
    paths = (question.path, *question.alternates)
    entries = (known_entry(at, path, facts) for path in paths)
    entry = next((found for found in entries if found is not None and found.kind == "file"), None)
    if at.commit is None:
        raise OfflineError(
            f"modelmirror does not know revision {shown(question.revision)} of {at.repo.name}."
        )
    if entry is None or entry.digest is None:
        known = known_entry(at, question.path, facts)
        listed = known is not None and known.kind == LISTED
        if (known and not listed) or all(proved_absent(at, path, facts) for path in paths):
            return entry_not_found(question.path, question.revision, at.commit)
        lacks = "have" if listed else "know"
        raise OfflineError(
            f"modelmirror does not {lacks} {shown(question.path)} of {at.repo.name}.",
            hint=partly(at, facts),
        )
    shared = (
        ("X-Repo-Commit", at.commit),
        ("Cache-Control", _caching(at.repo, question.revision, facts)),
        *staleness(at.repo, question.revision, facts),
    )
    if question.raw and is_lfs(entry):
        head = document(pointer_text(entry), *shared, content_type=PLAIN)
        etag = entry.oid or None
        return Answer(head.status, head.headers, head.body, etag, ranges=True)
    by_xet = question.chained or needs_xet(entry.size)
    linked = (
        ("X-Linked-ETag", f'"{entry.digest.hex}"'),
        ("X-Linked-Size", str(entry.size)),
        *(_xet_headers(at.repo, at.commit, entry, base_url) if by_xet else ()),
    )
    headers = (*file_head(entry.path), *shared, *(() if question.raw else linked))
    return _content(at.repo, at.commit, entry, entry.digest, headers)


def answer_object(question: StoredObject, facts: Facts, base_url: str) -> Answer:
    """Answer with the content that has a digest, if a stored snapshot of the repo knows it."""
    if expired(question.expires, facts.now):
        return said(403, "This download link has expired; ask for a new one.")
    repo = canonical(question, facts)
    digest = Digest(SHA256, question.sha256)
    own_url = f"{base_url}/v2/{web_name(repo)}/blobs/sha256:{question.sha256}"
    # Registry clients take the URL of a layer from Location, even of a 200.
    location = (
        (("Location", own_url), ("Docker-Content-Digest", str(digest))) if question.oci else ()
    )
    found = facts.by_digest(repo, question.sha256)
    if found is not None:
        commit, entry = found
        headers = (
            ("Content-Type", OCTETS),
            ("Cache-Control", _caching(repo, question.revision, facts)),
            *location,
            *CORS,
        )
        return _content(repo, commit, entry, digest, headers)
    if question.oci:
        reply = facts.reply(asking.reply_key(asking.layer_request(repo, question.sha256)))
        if reply is not None:
            made = document(reply.response.body, *location, content_type=OCTETS)
            return Answer(200, made.headers, made.body, digest.hex, ranges=True)
    at = ground(question, question.revision, facts)
    if at.complete or not facts.offline:
        sentence = f"No file of {repo.name} that modelmirror has seen has sha256 {question.sha256}."
        return said(404, f"{sentence} Ask for it by revision and path instead.")
    raise OfflineError(f"modelmirror does not know an object {question.sha256} of {repo.name}.")


def staleness(repo: Repo, revision: str, facts: Facts) -> tuple[tuple[str, str], ...]:
    """Tell how old a moving *revision* is that is shown as it was last seen.

    ``Age`` (RFC 9111 §5.1) tells programs, in seconds; ``X-HF-Warning`` is the one header clients print.
    """
    ref = None if is_commit(revision) or not facts.offline else facts.ref(repo, revision)
    if ref is None:
        return ()
    age = max(0, int(facts.now - ref.seen_at))
    text = (
        f"modelmirror; the Hub cannot be asked now: {revision} is as it was {age // 60} minutes ago"
    )
    return (("X-HF-Warning", header_text(text)), ("Age", str(age)))


def _caching(repo: Repo, revision: str, facts: Facts) -> str:
    visibility = facts.visibility(repo)
    public = visibility is not None and not visibility.private and not visibility.gated
    if is_commit(revision) and public:
        return _FOR_EVER
    return "no-cache" if public else "private, no-cache"


def _content(
    repo: Repo, commit: str, entry: Entry, digest: Digest, headers: tuple[tuple[str, str], ...]
) -> Answer:
    blob = asking.blob_of(repo, commit, entry, digest)
    body = (Span(blob, 0, entry.size),) if entry.size else ()
    return Answer(200, headers, body, digest.hex, ranges=True)


def _xet_headers(
    repo: Repo, commit: str, entry: Entry, base_url: str
) -> tuple[tuple[str, str], ...]:
    """What leads to the mirror's CAS: for another mirror, and for files too large for plain HTTP."""
    if entry.xet is None:
        return ()
    token = f'<{base_url}/api/{repo.name}/xet-read-token/{commit}>; rel="xet-auth"'
    rebuilt = f'<{base_url}/-/cas/v1/reconstructions/{entry.xet}>; rel="xet-reconstruction-info"'
    return (("X-Xet-Hash", entry.xet), ("Link", f"{token}, {rebuilt}"))
