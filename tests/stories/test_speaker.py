"""docs/stories/speaker.md, word for word: a speaker service with SpeechBrain's own client."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.clients.available import client
from tests.clients.elsewhere import Elsewhere
from tests.stories import weights
from tests.stories.conftest import Follow
from tests.stories.story import Story

pytestmark = pytest.mark.clients
MODEL = "speechbrain/spkrec-ecapa-voxceleb"


@pytest.fixture(scope="module")
def story(
    follow: Follow,
    upstream: Elsewhere,
    gone: Callable[[], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """The page, before a Hub that has a small model under that name."""
    environment, folder = client("torch"), tmp_path_factory.mktemp("weights")
    weights.made(environment, folder, ["speaker"])
    weights.repo(upstream, MODEL, folder / "ecapa")
    return follow("speaker.md", environment, before={"Without a network": gone})


def test_speaker_first_run_fetches_each_file_once(story: Story, upstream: Elsewhere) -> None:
    """The mirror is warmed with every file of the model, each asked for once."""
    files = Counter(one.rpartition("/")[2] for one in story.to("The mirror").resolved)

    assert files == Counter(upstream.origin.repo("models", MODEL).paths)
    assert len(files) == 7


def test_speaker_service_runs_by_one_variable(story: Story) -> None:
    """The service loads its model through the mirror and answers; upstream is asked for no file."""
    told = story.to("The service")

    assert '"status": "healthy"' in told.of("/health")
    assert told.bodies == []


def test_speaker_second_run_asks_upstream_for_nothing(story: Story) -> None:
    """Warming again, and a machine with an empty cache, cost at most one look at the branch."""
    told = story.to("A second time")

    assert told.bodies == []
    assert len(told.asked) <= 1


def test_speaker_runs_without_a_network(story: Story) -> None:
    """With upstream and the mirror gone, the exported cache is checked and enough, read-only too."""
    told = story.to("Without a network")

    assert told.asked == ()
    assert "0 hashed" in told.of("check --cache")


def test_speaker_missing_model_is_named(story: Story) -> None:
    """Service, `check` and a mirror offline each name what is missing and end with 1."""
    told = story.to("When the model is missing")

    assert "offline" in told.of("SPEAKER_MODEL=")
    assert "Traceback" not in "".join(done.written for _, done in told.commands)


def test_speaker_page_is_followed_to_its_end(story: Story) -> None:
    """Nothing on the page is left out."""
    story.to_the_end()
