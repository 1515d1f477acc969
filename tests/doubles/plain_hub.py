"""A hub of a few named files: enough to drive the engine without any real hub's grammar."""

from collections.abc import Mapping, Sequence

from mirror.digest import sha256_of
from mirror.errors import MirrorError, OfflineError
from mirror.hubs.base import Facts
from mirror.messages import Answer, BlobRef, RequestHead, Response, Span, UpstreamRequest
from mirror.names import Artifact, Fact, Need, Question


class PlainHub:
    """Serves *files* by path, each fetched from the same path upstream; everything is public."""

    name = "plain"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def recognise(self, head: RequestHead, body: bytes) -> Question | None:
        """A path that is one of the files."""
        del body
        return Artifact(revision="", path=head.path) if head.path in self._files else None

    def needs(self, question: Question, facts: Facts) -> Sequence[Need]:
        """Nothing: the files are known from the start."""
        del question, facts
        return ()

    def absorb(
        self, question: Question, need: Need, response: Response, now: float
    ) -> Sequence[Fact]:
        """Nothing is ever asked."""
        raise NotImplementedError

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """The file, by its sha256."""
        del facts, base_url
        assert isinstance(question, Artifact)
        content = self._files[question.path]
        digest = sha256_of(content)
        blob = BlobRef(
            digest, len(content), UpstreamRequest("GET", question.path), self.name, "files"
        )
        return Answer(200, (), (Span(blob, 0, len(content)),), digest.hex, ranges=True)

    def refuse(self, error: MirrorError) -> Answer:
        """The error's sentence."""
        return Answer(501 if isinstance(error, OfflineError) else 502, (), (str(error).encode(),))
