"""Whether a caller may be answered, by what is known: the one gate before every answer of a hub."""

from mirror.cache.facts import View
from mirror.errors import NotAdmittedError
from mirror.names import Access, Question


def admitted(question: Question, view: View) -> bool:
    """Whether this caller may be answered without asking upstream."""
    return question.repo is None or view.admitted(view.canonical(question.repo), question.access)


def by_grant(question: Question, view: View) -> bool:
    """Whether the operator's word opens the repo to this caller."""
    return question.repo is not None and view.granted(view.canonical(question.repo))


def open_to_all(question: Question, view: View) -> bool:
    """Whether everybody may be answered."""
    if question.repo is None:
        return False
    seen = view.visibility(view.canonical(question.repo))
    return seen is not None and not seen.private and not seen.gated


def admit(question: Question, view: View) -> None:
    """Raise `NotAdmittedError` unless the caller may be answered: whatever a hub needed or did not."""
    if admitted(question, view):
        return
    refuse_stranger(question, view)
    assert question.repo is not None  # noqa: S101 -- without a repo everybody is admitted
    raise NotAdmittedError(
        f"{question.repo.name} is not open to this caller.",
        repo=question.repo.name,
        gated=False,
        anonymous=view.anonymous,
        hint="Send a token that may read it.",
    )


def refuse_stranger(question: Question, view: View) -> None:
    """Raise `NotAdmittedError` for a gated repo: its existence is public, a private one's is not."""
    if question.repo is None:
        return
    repo = view.canonical(question.repo)
    seen = view.catalog.visibility(repo)
    if seen is None or seen.private or not seen.gated or question.access is not Access.READ:
        return
    if not view.admitted(repo, Access.READ):
        raise NotAdmittedError(
            f"Access to {repo.name} is restricted, and this caller has not been admitted to it.",
            repo=repo.name,
            gated=True,
            anonymous=view.anonymous,
            hint="Ask for access on the Hub, then send a token that has it.",
        )
