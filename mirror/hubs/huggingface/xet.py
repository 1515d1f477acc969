"""Xet for clients that insist on it: tokens, reconstructions and xorbs of the mirror's own store.

A client that holds Xet hashes from before it was pointed here asks for a read token and has no other way
to its bytes; a token passed through would lead it past the mirror. So the mirror gives out its own.
"""

from typing import Final

from mirror.digest import Digest
from mirror.errors import OfflineError
from mirror.hubs.base import Facts
from mirror.hubs.huggingface.answers import CORS, OCTETS, json_document
from mirror.hubs.huggingface.asking import blob_of
from mirror.hubs.huggingface.questions import Reconstruction, XetToken, Xorb
from mirror.hubs.huggingface.refusals import said
from mirror.hubs.huggingface.tokens import Pass, Seal
from mirror.hubs.huggingface.walks import canonical, expired, ground
from mirror.hubs.huggingface.xorbs import reconstruction, xorb_segments
from mirror.messages import Answer
from mirror.ranges import ByteRange, Unsatisfiable, parse_ranges

CAS: Final = "/-/cas"
READ: Final = "xet read"
"""The purpose of a token that opens reconstructions."""
XORB: Final = "xet xorb"
"""The purpose of a signed link to a file's xorbs."""
OBJECT: Final = "lfs object"
"""The purpose of a signed link to a git-lfs object."""


def answer_token(
    question: XetToken, facts: Facts, base_url: str, seal: Seal, lifetime: float
) -> Answer:
    """Give the caller a token for the CAS; Rust and JavaScript read the JSON, Python the headers."""
    at = ground(question, question.revision, facts)
    if at.commit is None:
        raise OfflineError(f"modelmirror does not know that revision of {at.repo.name}.")
    expires = int(facts.now + lifetime)
    token = seal.sign(READ, Pass(at.repo, at.commit, facts.caller, expires))
    return json_document(
        {"accessToken": token, "exp": expires, "casUrl": base_url + CAS},
        ("X-Xet-Access-Token", token),
        ("X-Xet-Token-Expiration", str(expires)),
        ("X-Xet-Cas-Url", base_url + CAS),
        ("Cache-Control", "no-store"),
    )


def answer_reconstruction(
    question: Reconstruction, facts: Facts, base_url: str, seal: Seal, lifetime: float
) -> Answer:
    """Say which chunks make up the asked bytes of a file.

    Raises `OfflineError` (501: permanent, clients do not retry it) for a hash that no stored tree knows.
    """
    if expired(question.expires, facts.now):
        return said(401, "This token has expired; ask for a new one.")
    repo = canonical(question, facts)
    found = facts.by_xet(repo, question.xet_hash)
    if found is None or found[1].digest is None:
        raise OfflineError(
            f"No file of {repo.name} that modelmirror has seen has Xet hash {question.xet_hash}.",
            hint="Remove the client's own copy of the file list, or set HF_HUB_DISABLE_XET=1.",
        )
    commit, entry = found
    digest = found[1].digest
    try:
        ranges = parse_ranges(question.span, entry.size)
    except Unsatisfiable:
        beyond = ("Content-Range", f"bytes */{entry.size}")
        return said(416, "The range begins after the end of the file.", beyond)
    # Clients ask one range; of several, all that lies between is told.
    wanted = ByteRange(ranges[0].start, ranges[-1].end) if ranges else ByteRange(0, entry.size)
    content = f"{digest} {entry.size}"
    granted = Pass(repo, commit, question.caller or "", int(facts.now + lifetime), content)
    url = f"{base_url}{CAS}/xorbs/{{name}}?index={{index}}&pass={seal.sign(XORB, granted)}"
    written = reconstruction(digest, entry.size, wanted, url, question.version)
    return json_document(written, ("Cache-Control", "no-store"))


def answer_xorb(question: Xorb, facts: Facts) -> Answer:
    """Send a xorb; 403 for an expired link, upon which clients ask for the reconstruction again."""
    if expired(question.expires, facts.now):
        return said(403, "This link has expired; ask for the reconstruction again.")
    repo = canonical(question, facts)
    digest = Digest.parse(question.digest)
    found = facts.by_digest(repo, digest.hex)
    if found is None or found[1].size != question.size:
        raise OfflineError(
            f"modelmirror no longer knows a file of {repo.name} with {question.digest}."
        )
    commit, entry = found
    blob = blob_of(repo, commit, entry, digest)
    headers = (("Content-Type", OCTETS), ("Cache-Control", "private, no-cache"), *CORS)
    return Answer(200, headers, xorb_segments(blob, question.index), ranges=True)
