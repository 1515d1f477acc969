"""The operator's own gate, before any hub's: who asks, what may pass, and whose token goes upstream.

It is open unless the settings close it. With local users a caller's ``Authorization`` is for this mirror
and never goes upstream: what goes there is the mirror's own token, for the repos listed for it and for the
readers each listing names, and nothing for everything else.
"""

from typing import Final

from mirror.cache.owntoken import OwnToken
from mirror.cache.rules import Rules
from mirror.cache.users import User, Users, refusal
from mirror.credential import Credential
from mirror.errors import NotAllowedError
from mirror.messages import Answer, Span
from mirror.names import Question, Repo, Tunnel
from mirror.patterns import spell

# Everybody, where there are no local users: the hub says who may read what.
ANYBODY: Final = User("", ())


class Gate:
    """*users* are the local users, `None` for none; *rules* what may pass; *own* the mirror's token."""

    def __init__(
        self, users: Users | None = None, rules: Rules | None = None, own: OwnToken | None = None
    ) -> None:
        self._users = users
        self._rules = rules or Rules()
        self._own = own

    @property
    def knows_callers(self) -> bool:
        """Whether there are local users, so that a caller's credential is for this mirror."""
        return self._users is not None

    async def user(self, question: Question, credential: Credential | None) -> User:
        """Name who asks: whoever a pass of ours was made out to, else whose *credential* it is.

        Raises `NotAllowedError` for a stranger.
        """
        if self._users is None:
            return ANYBODY
        if question.caller is not None:
            return self._users.named(question.caller.rpartition(" ")[0])
        return await self._users.identify(credential)

    def check(self, user: User, question: Question) -> None:
        """Raise `NotAllowedError` unless *user* may ask *question*, as far as its names tell."""
        repo = question.repo if question.repo is not None else question.about
        if repo is None:
            return
        self.check_repo(user, repo)
        if isinstance(question, Tunnel):
            self._rules.check_whole(repo)

    def check_repo(self, user: User, repo: Repo) -> None:
        """Raise `NotAllowedError` unless *repo* may pass, and *user* may read it."""
        self._rules.check_repo(repo)
        if self._users is not None and not user.may_read(repo):
            raise refusal(user, repo)

    def check_answer(self, user: User, repo: Repo, answer: Answer, used: Credential | None) -> None:
        """Raise `NotAllowedError` unless *answer*, about *repo* as upstream calls it now, may go out.

        *used* is the credential that upstream was or will be asked with: a name that is listed for the
        mirror's own token may by now lead to a repo that is not.
        """
        self.check_repo(user, repo)
        own = self._own is not None and used is self._own.credential
        if own and self.token(user, repo) is None:
            raise NotAllowedError(
                f"That name leads to {spell(repo)} now, which this mirror's token is not for.",
                repo=spell(repo),
                anonymous=False,
                hint="Its operator can list it in huggingface.token_repos.",
            )
        if self._rules.about_files:
            for segment in answer.body:
                if isinstance(segment, Span):
                    self._rules.check_file(repo, segment.blob.path)

    def check_passed(self, repo: Repo, answer: Answer) -> None:
        """Raise `NotAllowedError` for an *answer* of upstream's own making that may hold a file of *repo*.

        Where files are judged by their names, only JSON may pass that no file list names.
        """
        kind = next((value for name, value in answer.headers if name.lower() == "content-type"), "")
        if answer.status < 300 and not kind.lower().startswith("application/json"):
            self._rules.check_whole(repo)

    def token(self, user: User, repo: Repo | None) -> Credential | None:
        """The mirror's own token, where *user* may read *repo* with it."""
        if self._own is None or repo is None or not self._own.opens(repo, user):
            return None
        return self._own.credential
