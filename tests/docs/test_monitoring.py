"""Metrics, dashboard, alert rules and their page say the same: every name exists, and none is left out."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mirror.events import (
    ALARMS,
    Alarm,
    Asked,
    Evicted,
    FillEnded,
    FillStarted,
    Scrubbed,
    Served,
)
from mirror.telemetry import Telemetry
from tests.clients.available import program
from tests.house.checkout import ROOT

DASHBOARD: Final = ROOT / "config" / "grafana-dashboard.json"
ALERTS: Final = ROOT / "config" / "alerts.yaml"
PAGE: Final = ROOT / "docs" / "monitoring.md"
NAME: Final = re.compile(r"\b(?:modelmirror|process)_[a-z_]+")
REPORT: Final = {
    "status": "healthy",
    "version": "1.0",
    "offline_mode": False,
    "store": {"blobs": 3, "bytes": 9, "quota": 10, "free": 1},
    "filling": 0,
    "cached": {"huggingface": {"models": 1}},
    "upstreams": {"huggingface": ["https://huggingface.co"]},
    "down": ["github"],
}


def _exposed() -> str:
    telemetry = Telemetry()
    telemetry.watch(lambda: REPORT, lambda: 3)
    for event in (
        Served("huggingface", "hit", 200, 5, 0.1),
        Asked("huggingface", "huggingface.co", 200, 0.1),
        FillStarted("huggingface", 7),
        FillEnded("huggingface", "stored", 7, 1.5, 7),
        Evicted(1, 7),
        Scrubbed(7, 1),
        Alarm("takeover", "A name changed hands."),
    ):
        telemetry(event)
    return telemetry.render().decode()


def _metrics() -> dict[str, set[str]]:
    """Every metric by its name as it is written in expressions, histograms without suffix; and its labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(_exposed()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = labels - {"le"}
    return found


def _named(expressions: str) -> set[str]:
    """The metrics that expressions name."""
    names = set(NAME.findall(re.sub(r'"[^"]*"', '""', expressions)))
    known = _metrics()
    return {
        stem if (stem := re.sub("_(?:bucket|sum|count)$", "", name)) in known else name
        for name in names
    }


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return panels


def _expressions() -> Iterator[str]:
    for panel in _panels():
        yield from (target["expr"] for target in panel.get("targets", ()))


def _rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def _promtool(*arguments: str, text: str = "") -> None:
    done = subprocess.run(
        [program("promtool", "prometheus"), *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ── metrics ────────────────────────────────────────────────────────────────────────────────────


def test_metrics_follow_the_conventions() -> None:
    """Counters end in _total, units are base units and are named, and no label can have many values."""
    allowed = {"hub", "found", "status", "outcome", "host", "kind", "version"}
    for family in text_string_to_metric_families(_exposed()):
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(?:ms|kb|mb|minutes|percent)\b", family.name)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
    for name, labels in _metrics().items():
        assert labels <= allowed, name
        assert name.startswith(("modelmirror_", "process_"))


def test_metrics_pass_the_linter_of_prometheus() -> None:
    """Prometheus' own tool has nothing to say of them."""
    _promtool("check", "metrics", text=_exposed())


def test_metrics_know_every_alarm_from_the_start() -> None:
    """Each kind that the source raises has a counter before it is raised, and no other kind is known."""
    raised = set()
    for path in (ROOT / "mirror").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Alarm":
                raised.add(ast.literal_eval(node.args[0]))
    assert raised == ALARMS.keys()
    fresh = Telemetry().render().decode()
    assert set(re.findall(r'alarms_total\{kind="([^"]+)"} 0\.0', fresh)) == raised


def test_metrics_without_a_report_say_so() -> None:
    """When the index cannot be read the counters are still there, and the mirror is not healthy."""
    telemetry = Telemetry()

    def broken() -> dict[str, Any]:
        raise OSError

    telemetry.watch(broken, lambda: 0)
    text = telemetry.render().decode()
    assert "modelmirror_healthy 0.0" in text
    assert "modelmirror_evicted_bytes_total 0.0" in text


def test_page_lists_every_metric_with_its_labels() -> None:
    """The table of the page has each metric once, with its labels, and no other."""
    listed = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and NAME.match(cells[0].strip("`")):
            for name in re.findall(r"`([a-z_]+)`", cells[0]):
                listed[name] = set(re.findall(r"`([a-z]+)`", cells[1]))
    assert listed == _metrics()


def test_page_lists_every_alert_and_alarm() -> None:
    """Each alert has a row that says what to do, each kind of alarm one that says what it is."""
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| `(Modelmirror\w+)` \|", page, re.MULTILINE) == [
        rule["alert"] for rule in _rules()
    ]
    table = page.partition("The kinds of")[2]
    assert set(re.findall(r"`([a-z-]+)`(?=[,| ])", table)) - {"modelmirror"} == ALARMS.keys()


# ── dashboard ──────────────────────────────────────────────────────────────────────────────────


def test_dashboard_shows_every_metric_and_no_other() -> None:
    """Every name in its expressions exists, and every metric is on it."""
    assert _named("\n".join(_expressions())) == _metrics().keys()


def test_dashboard_groups_by_labels_that_exist() -> None:
    """What an expression selects or groups by is a label of its metric."""
    metrics = _metrics()
    for expression in _expressions():
        named = _named(expression)
        known = set().union(*(metrics[name] for name in named)) | {"job", "instance", "le"}
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        used = {label.strip() for labels in grouped for label in labels.split(",")}
        used |= set(re.findall(r"([a-z]+)(?:=~|!=|=)", expression))
        assert used <= known, expression


def test_dashboard_is_laid_out() -> None:
    """Panels have ids of their own and cover each other nowhere; each asks the chosen data source."""
    taken: set[tuple[int, int]] = set()
    panels = _panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"


def test_dashboard_is_understood_by_prometheus(tmp_path: Path) -> None:
    """Every expression is PromQL, with the variables filled in."""
    filled = [
        text.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")
        for text in _expressions()
    ]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(filled)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    _promtool("check", "rules", str(file))


# ── alerts ─────────────────────────────────────────────────────────────────────────────────────


def test_alerts_name_metrics_that_exist() -> None:
    """No rule waits for what is never told, and each says how bad it is, what it is and what it means."""
    for rule in _rules():
        assert _named(rule["expr"]) <= _metrics().keys(), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
        kinds = re.findall(r'kind=~?"([^"]+)"', rule["expr"])
        assert {kind for text in kinds for kind in text.split("|")} <= ALARMS.keys()


# What is told minute by minute, and whether the alert is there then. The counter of a kind of alarm is there
# from the start, so its first alarm is seen to be one.
FIRES: Final[dict[str, tuple[dict[str, str], str, bool]]] = {
    "ModelmirrorDown": ({'up{job="modelmirror"}': "0x20"}, "10m", True),
    "ModelmirrorDegraded": ({"modelmirror_healthy": "0x30"}, "20m", True),
    "ModelmirrorUpstreamDown": ({'modelmirror_upstream_up{hub="kaggle"}': "0x20"}, "15m", True),
    "ModelmirrorFailsRequests": (
        {
            'modelmirror_requests_total{hub="huggingface",status="2xx"}': "0+60x60",
            'modelmirror_requests_total{hub="huggingface",status="5xx"}': "0+6x60",
            'modelmirror_requests_total{hub="none",status="2xx"}': "0+6000x60",
        },
        "40m",
        True,
    ),
    "ModelmirrorWrongBytes": (
        {'modelmirror_alarms_total{kind="digest-mismatch"}': "0 0 0 1x20"}, "10m", True,
    ),
    "ModelmirrorDiskDamage": (
        {'modelmirror_alarms_total{kind="corrupt"}': "0 0 0 1x20"}, "10m", True,
    ),
    "ModelmirrorCannotStore": (
        {'modelmirror_alarms_total{kind="serving-through"}': "0 0 0 1x20"}, "10m", True,
    ),
    "ModelmirrorUpkeepFails": (
        {'modelmirror_alarms_total{kind="upkeep-failed"}': "0+1x60"}, "30m", True,
    ),
    "ModelmirrorQuotaThrashing": (
        {"modelmirror_evicted_bytes_total": "0+9x1600", "modelmirror_stored_bytes": "1000x1600"},
        "5h", True,
    ),
    "ModelmirrorDiskNearlyFull": (
        {"modelmirror_free_bytes": "1x60", "modelmirror_stored_bytes": "1000x60"}, "50m", True,
    ),
    "ModelmirrorTasksLeak": ({"modelmirror_tasks": "2000+10x600"}, "9h", True),
    "ModelmirrorDescriptorsNearlyOut": (
        {
            'process_open_fds{job="modelmirror"}': "900x30",
            'process_max_fds{job="modelmirror"}': "1024x30",
        },
        "20m", True,
    ),
}  # fmt: skip
QUIET: Final[dict[str, tuple[dict[str, str], str, bool]]] = {
    "ModelmirrorDegraded": ({"modelmirror_healthy": "0 0 0 1x30"}, "20m", False),
    "ModelmirrorFailsRequests": (
        {'modelmirror_requests_total{hub="huggingface",status="2xx"}': "0+60x60"}, "40m", False,
    ),
    "ModelmirrorWrongBytes": (
        {'modelmirror_alarms_total{kind="digest-mismatch"}': "1x90"}, "70m", False,
    ),
    "ModelmirrorDiskNearlyFull": (
        {
            "modelmirror_free_bytes": "1x60",
            "modelmirror_stored_bytes": "1000x60",
            "modelmirror_quota_bytes": "1001x60",
        },
        "50m", False,
    ),
    "ModelmirrorTasksLeak": ({"modelmirror_tasks": "2000x600"}, "9h", False),
}  # fmt: skip


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    """Each rule is run by Prometheus' own tool over what would be told, and over what must wake nobody."""
    assert FIRES.keys() == {rule["alert"] for rule in _rules()}
    _promtool("check", "rules", str(ALERTS))
    tests = []
    for alert, (told, after, fires) in [*FIRES.items(), *QUIET.items()]:
        (rule,) = [rule for rule in _rules() if rule["alert"] == alert]
        expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
        tests.append(
            {
                "name": f"{alert} {'fires' if fires else 'is quiet'}",
                "interval": "1m",
                "input_series": [
                    {"series": series, "values": values} for series, values in told.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": after,
                        "exp_samples": [{"labels": "{}", "value": float(fires)}],
                    }
                ],
            }
        )
        assert rule["expr"]
    file = tmp_path / "tests.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests})
    )
    _promtool("test", "rules", str(file))


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS])
def test_no_file_names_a_place(path: Path) -> None:
    """What is shipped names no machine of ours."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!huggingface\.co)", text)
