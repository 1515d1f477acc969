"""Who may read what, and how the Hub says no.

The wording and the presence or absence of ``X-Error-Code`` decide what clients raise, so the
refusals are collected here, as huggingface_hub's ``hf_raise_for_status`` tells them apart.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from tests.origin.repos import Commit, Repo
from tests.origin.wire import Refusal, Request, json_reply, text_reply
from tests.origin.world import World

invalid_credentials = "Invalid credentials in Authorization header"
bad_login = "Invalid username or password."
unauthenticated_warning = (
    "unauthenticated; You are sending unauthenticated requests to the HF Hub. "
    "Please set a HF_TOKEN to enable higher rate limits and faster downloads."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks: a valid token and its user, or nobody."""

    token: str | None
    user: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """One request about one repo that the caller may know of."""

    world: World
    request: Request
    caller: Caller
    repo: Repo

    @property
    def api(self) -> str:
        """Absolute URL of the repo under ``/api``."""
        return f"{self.world.hub_url}/api/{self.repo.kind}/{self.repo.name}"


def refused(
    status: int,
    message: str,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    as_text: bool = False,
) -> Refusal:
    """Return a refusal with ``X-Error-Message``, and ``X-Error-Code`` when there is a code."""
    rows = {"X-Error-Message": message, **(headers or {})}
    if code is not None:
        rows["X-Error-Code"] = code
    if as_text:
        return Refusal(text_reply(message, rows, status))
    return Refusal(json_reply({"error": message}, rows, status))


def identify(world: World, request: Request) -> Caller:
    """Return who asks; a token that is not valid is refused even on public repos."""
    header = request.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    token = value.strip()
    if not header:
        return Caller(None, None)
    if scheme.lower() == "basic":
        try:
            login = base64.b64decode(token).decode()
        except (binascii.Error, UnicodeDecodeError):
            login = ""
        token = login.partition(":")[2]
    if token in world.tokens:
        return Caller(token, world.tokens[token])
    raise refused(401, invalid_credentials)


def find(world: World, caller: Caller, kind: str, name: str, request: Request) -> Repo:
    """Return the repo called ``name`` if ``caller`` may know of it.

    A former or wrongly cased name is answered with a relative redirect of the same request. A
    private repo is to strangers what a missing one is: 401 without a code to nobody, 404 to a
    token.
    """
    found = world.shelf.find(kind, name)
    if found is not None and found.repo.access.private:
        allowed = caller.token is not None and caller.token in found.repo.access.readers
        found = found if allowed else None
    if found is None:
        if caller.token is None:
            raise refused(401, bad_login)
        raise refused(404, "Repository not found", "RepoNotFound")
    if not found.canonical:
        target = request.target.replace(f"/{name}", f"/{found.repo.name}", 1)
        raise Refusal(
            text_reply(
                f"Temporary Redirect. Redirecting to {target}", {"Location": target}, status=307
            )
        )
    if found.repo.access.disabled:
        raise refused(403, "Access to this resource is disabled.")
    return found.repo


def sees_content(call: Call) -> bool:
    """Tell whether the caller is past the gate of the repo."""
    access = call.repo.access
    return not access.gated or (
        call.caller.token is not None and call.caller.token in access.readers
    )


def admit(call: Call) -> None:
    """Refuse whoever has not passed the gate of a gated repo."""
    if sees_content(call):
        return
    repo = call.repo
    kind = repo.kind.removesuffix("s")
    if call.caller.token is None:
        raise refused(
            401,
            f"Access to {kind} {repo.name} is restricted. You must have access to it and be "
            "authenticated to access it. Please log in.",
            "GatedRepo",
        )
    raise refused(
        403,
        f"Access to {kind} {repo.name} is restricted and you are not in the authorized list. "
        f"Visit {call.world.hub_url}{repo.web_path} to ask for access.",
        "GatedRepo",
    )


def commit_of(repo: Repo, revision: str) -> Commit:
    """Return the commit that ``revision`` names, or refuse with RevisionNotFound."""
    commit = repo.resolve(revision)
    if commit is None:
        raise refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def no_entry(commit: Commit, message: str, *, as_text: bool = False) -> Refusal:
    """Return the refusal for a path that ``commit`` does not have."""
    headers = {"X-Repo-Commit": commit.oid}
    return refused(404, message, "EntryNotFound", headers, as_text=as_text)
