"""The Hugging Face Hub: the grammar of its URLs, and the facts behind its answers."""

from collections.abc import Sequence

from mirror.errors import MirrorError
from mirror.hubs.base import Facts
from mirror.hubs.caches import CachedCommit
from mirror.hubs.huggingface import git, learning, listings, refusals, routes, xet
from mirror.hubs.huggingface.adopting import facts_of
from mirror.hubs.huggingface.answers import document, json_document
from mirror.hubs.huggingface.files import answer_file, answer_object
from mirror.hubs.huggingface.grammar import HUB, at_root
from mirror.hubs.huggingface.questions import (
    AuthCheck,
    Fixed,
    LfsBatch,
    OciManifest,
    Passed,
    PathsInfo,
    Reconstruction,
    RepoFile,
    RepoInfo,
    RepoPage,
    RepoRefs,
    RepoTree,
    StoredObject,
    XetToken,
    Xorb,
)
from mirror.hubs.huggingface.tokens import Seal
from mirror.hubs.huggingface.walks import Walks
from mirror.messages import Answer, RequestHead, Response
from mirror.names import Fact, Need, Question


class HuggingFace:
    """The Hub as five pure functions; see `mirror.hubs.base.Hub`.

    *secret* (32 random bytes of the data folder) signs the passes of the Xet store and git-lfs;
    *tree_limit* is the most entries that a snapshot is kept for; *ref_lifetime* is how long, in seconds,
    a moving document is used without asking again, *search_lifetime* a search result, and
    *pass_lifetime* how long a pass is good.
    """

    def __init__(
        self,
        secret: bytes,
        tree_limit: int,
        ref_lifetime: float,
        *,
        search_lifetime: float = 60.0,
        pass_lifetime: float = 900.0,
    ) -> None:
        self._seal = Seal(secret)
        self._walks = Walks(ref_lifetime)
        self._listings = listings.Listings(self._walks, tree_limit)
        self._search_lifetime = search_lifetime
        self._pass_lifetime = pass_lifetime

    @property
    def name(self) -> str:
        """``huggingface``."""
        return HUB

    def recognise(self, head: RequestHead, body: bytes) -> Question | None:
        """Say what a request means; see `mirror.hubs.base.Hub.recognise`."""
        return routes.recognise(at_root(head), body, self._seal, self._search_lifetime)

    def needs(self, question: Question, facts: Facts) -> Sequence[Need]:
        """Name the upstream requests still missing."""
        return self._walks.needs(question, facts)

    def absorb(
        self, question: Question, need: Need, response: Response, now: float
    ) -> Sequence[Fact]:
        """Turn a response into facts."""
        return learning.absorb(question, need, response, now)

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """Answer from facts alone."""
        match question:
            case RepoFile():
                return answer_file(question, facts, base_url)
            case RepoInfo():
                return self._listings.info(question, facts, base_url)
            case RepoTree():
                return self._listings.tree(question, facts, base_url)
            case PathsInfo():
                return self._listings.paths(question, facts, base_url)
            case RepoRefs():
                return self._listings.refs(question, facts, base_url)
            case RepoPage() | Passed() | OciManifest():
                request = self._walks.request_of(question, facts)
                return listings.reply_answer(request, facts, base_url)
            case _:
                return self._answer_other(question, facts, base_url)

    def _answer_other(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """Answer what is no listing: fixed words, content by its digest, passes to it."""
        seal, lifetime = self._seal, self._pass_lifetime
        match question:
            case Fixed():
                return document(question.body, *question.headers, status=question.status)
            case AuthCheck():
                return json_document({})
            case LfsBatch():
                return git.answer_batch(question, facts, base_url, seal, lifetime)
            case StoredObject():
                return answer_object(question, facts, base_url)
            case XetToken():
                return xet.answer_token(question, facts, base_url, seal, lifetime)
            case Reconstruction():
                return xet.answer_reconstruction(question, facts, base_url, seal, lifetime)
            case Xorb():
                return xet.answer_xorb(question, facts)
            case _:
                raise TypeError(f"no answer is composed for a {type(question).__name__}")

    def adopt(self, found: CachedCommit) -> Sequence[Fact]:
        """Turn what a client's cache had of a commit into facts; see `mirror.hubs.caches.Adopts`."""
        return facts_of(found)

    def refuse(self, error: MirrorError) -> Answer:
        """Word an error for the Hub's clients."""
        return refusals.refuse(error)
