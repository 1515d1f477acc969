"""Two callers of one mirror by HTTPS, one of whom may read a gated repo: docs/stories/lan-team.md."""

import os
from collections.abc import Callable

import pytest

from tests.clients.available import client
from tests.clients.elsewhere import Elsewhere
from tests.stories.conftest import Follow, Machine
from tests.stories.story import Story

pytestmark = pytest.mark.clients

LLAMA = "meta-llama/Llama-3.2-1B"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TOKEN = "hf_of_the_team"
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": os.urandom(2_000_000)}
OPEN = {"config.json": b'{"model_type": "bert"}', "model.safetensors": os.urandom(1_000_000)}


@pytest.fixture(scope="module")
def story(
    follow: Follow,
    upstream: Elsewhere,
    gone: Callable[[], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """A gated repo that the token of the team may read, an open one, and two machines besides the server."""
    upstream.origin.tokens = {TOKEN: "team"}
    upstream.origin.add_repo("models", LLAMA, FILES, gated="manual", readers=(TOKEN,))
    upstream.origin.add_repo("models", MINILM, OPEN)
    machine = Machine((client("hub24").commands,), {"NO_PROXY": "localhost"})
    return follow(
        "lan-team.md",
        before={"Without a network": gone},
        machines={"alice": machine, "bob": machine},
        words={
            "mirror.example.org": "localhost",
            "/mnt/team": str(tmp_path_factory.mktemp("team")),
        },
    )


def _have(story: Story, name: str, repo: str) -> dict[str, bytes]:
    """What somebody has of a repo."""
    home = story.machines[name].home
    folder = f".cache/huggingface/hub/models--{repo.replace('/', '--')}/snapshots"
    (commit,) = (home / folder).iterdir()
    return {path.name: path.read_bytes() for path in commit.iterdir()}


def test_lan_team_gets_a_gated_model_with_one_token(story: Story) -> None:
    """Alice has every byte; each file was fetched once, and what she sent never left the mirror."""
    told = story.to("Alice")
    assert _have(story, "alice", LLAMA) == FILES
    assert sum(one.startswith("GET cdn") for one in told.asked) == 1
    sent = {one.headers.get("authorization") for one in story.upstream.origin.seen("hub")}
    assert sent - {None} == {f"Bearer {TOKEN}"}


def test_lan_team_refuses_who_may_not(story: Story) -> None:
    """Bob is told so, by name and with 403, before upstream is asked; what is open to him he gets."""
    told = story.to("Bob")
    assert "403 Forbidden" in told.of(LLAMA)
    assert [one for one in told.asked if LLAMA in one] == []
    assert _have(story, "bob", MINILM) == OPEN
    assert not [*story.machines["bob"].home.rglob("models--meta-llama*/snapshots/*/*")]


def test_lan_team_fetches_nothing_again(story: Story) -> None:
    """On an empty machine both models come from the mirror; upstream is asked for a branch at most."""
    told = story.to("Again")
    assert told.bodies == []
    assert {one.rpartition("/")[2] for one in told.asked} <= {"main", "auth-check"}
    assert (_have(story, "alice", LLAMA), _have(story, "alice", MINILM)) == (FILES, OPEN)


def test_lan_team_has_the_same_rights_without_a_network(story: Story) -> None:
    """Offline she reads what he may not, as before."""
    story.to("Without a network")
    assert _have(story, "alice", LLAMA) == FILES


def test_lan_team_is_told_what_is_missing(story: Story) -> None:
    """The page shows the model's name and exit code 1; see what it says."""
    story.to("A model that is missing")
    story.to_the_end()
