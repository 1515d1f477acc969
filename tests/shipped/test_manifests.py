"""Dockerfiles, compose files and manifests pass their checkers, and agree with the mirror."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mirror.config import load
from tests.clients.available import client
from tests.house.checkout import ROOT
from tests.mirror.running import Running
from tests.origin import Origin

DOCKER = ROOT / "docker"
KUBERNETES = DOCKER / "kubernetes"
DOCKERFILES = sorted(DOCKER.glob("*Dockerfile"))
COMPOSE = sorted(DOCKER.glob("compose*.yaml"))
KUSTOMIZATION = KUBERNETES / "kustomization.yaml"
MANIFESTS = sorted(set(KUBERNETES.rglob("*.yaml")) - {KUSTOMIZATION})


def _check(program: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a checker from its own environment; its exit code, and what it says."""
    path = client("checkers").commands / program
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _name(path: Path) -> str:
    return str(path.relative_to(DOCKER))


@pytest.mark.parametrize("file", DOCKERFILES, ids=_name)
def test_dockerfiles_have_no_bad_habit(file: Path) -> None:
    """Hadolint has nothing to say."""
    assert _check("hadolint", "--no-color", file) == (0, "")


def test_a_bad_habit_is_noticed(tmp_path: Path) -> None:
    """Hadolint would have something to say."""
    file = tmp_path / "Dockerfile"
    file.write_text("FROM debian\nRUN cd /tmp && sudo apt-get install x\n")

    code, said = _check("hadolint", "--no-color", file)

    assert code == 1
    assert "DL3004" in said


def _compose(*files: Path) -> tuple[int, str]:
    return _check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


def test_compose_files_are_of_their_schema() -> None:
    """The Compose Specification's own schema knows every key and every value."""
    code, said = _compose(*COMPOSE)

    assert code == 0, said


@pytest.mark.parametrize(
    ("right", "wrong"), [("service_healthy", "service_fit"), ("read_only:", "readonly:")]
)
def test_a_wrong_compose_file_is_noticed(right: str, wrong: str, tmp_path: Path) -> None:
    """A condition that does not exist, and a misspelt key, are seen."""
    file = tmp_path / "compose.yaml"
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    assert right in text
    file.write_text(text.replace(right, wrong))

    assert _compose(file)[0] == 1


@pytest.mark.parametrize("file", MANIFESTS, ids=_name)
def test_manifests_are_of_their_schema(file: Path) -> None:
    """Kubernetes' own schema, strictly: a key that it does not know is none."""
    code, said = _check("kubernetes-validate", "--strict", "--quiet", file)

    assert code == 0, said


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("readinessProbe:", "readinesProbe:"), ("replicas: 1", "replicas: one")],
)
def test_a_wrong_manifest_is_noticed(right: str, wrong: str, tmp_path: Path) -> None:
    """A misspelt key deep inside, and a value of another type, are seen."""
    file = tmp_path / "statefulset.yaml"
    text = (KUBERNETES / "statefulset.yaml").read_text(encoding="utf-8")
    assert right in text
    file.write_text(text.replace(right, wrong))

    assert _check("kubernetes-validate", "--strict", "--quiet", file)[0] == 1


def test_the_kustomization_names_every_manifest() -> None:
    """What is beside it belongs to it, and what it names is there."""
    tree = _read(KUSTOMIZATION)
    beside = {path.name for path in KUBERNETES.glob("*.yaml")} - {KUSTOMIZATION.name}

    assert set(tree) == {
        "apiVersion", "kind", "resources", "labels", "configMapGenerator", "images",
    }  # fmt: skip
    assert set(tree["resources"]) == beside
    assert all(
        (KUBERNETES / file).is_file() for one in tree["configMapGenerator"] for file in one["files"]
    )


def test_kustomize_puts_it_together() -> None:
    """Kubectl writes one stream, in which the mirror's pod has the settings that were made for it."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed; it is no package of Debian's")
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True
    )
    made = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    volumes = made["StatefulSet"]["spec"]["template"]["spec"]["volumes"]

    assert set(made) == {"ConfigMap", "NetworkPolicy", "Service", "StatefulSet"}
    assert made["ConfigMap"]["metadata"]["name"] in {
        one["configMap"]["name"] for one in volumes if "configMap" in one
    }


def test_settings_of_the_cluster_can_be_used() -> None:
    """The settings file is one, and says what the manifests rely on."""
    settings = load({}, {}, KUBERNETES / "modelmirror.toml", data=Path("none")).settings

    assert (settings.host, settings.port, settings.data) == ("0.0.0.0", 8090, Path("/data"))


def test_the_service_leads_to_the_pod() -> None:
    """Selector and port of the service and of the policy are those of the pod, and so is the claim."""
    stateful = _read(KUBERNETES / "statefulset.yaml")["spec"]
    pod = stateful["template"]
    (container,) = pod["spec"]["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    service = _read(KUBERNETES / "service.yaml")["spec"]
    policy = _read(KUBERNETES / "networkpolicy.yaml")["spec"]

    assert ports == {"http": 8090}
    assert service["ports"][0]["targetPort"] == "http"
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert stateful["volumeClaimTemplates"][0]["metadata"]["name"] in {
        one["name"] for one in container["volumeMounts"]
    }


def test_probes_ask_what_the_mirror_answers(tmp_path: Path, origin: Origin) -> None:
    """Every path that a probe names is a page of the running mirror."""
    (container,) = _read(KUBERNETES / "statefulset.yaml")["spec"]["template"]["spec"]["containers"]
    paths = {probe["httpGet"]["path"] for key, probe in container.items() if key.endswith("Probe")}
    with Running(tmp_path / "data", origin) as mirror:
        assert {path: mirror.ask(path).status for path in paths} == dict.fromkeys(paths, 200)

    assert len(paths) == 2


@pytest.mark.parametrize("file", MANIFESTS, ids=_name)
def test_pods_are_closed_and_know_no_service_links(file: Path) -> None:
    """No root, no capability, a read-only root; and no MODELMIRROR_PORT=tcp://… from the service's name."""
    for pod in _pods(_read(file)):
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            closed = container["securityContext"]
            assert closed["readOnlyRootFilesystem"] is True
            assert closed["allowPrivilegeEscalation"] is False
            assert closed["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]


def test_no_file_sets_the_endpoint_for_good() -> None:
    """In no Dockerfile is the mirror's address an ENV, nor an ARG of the last stage."""
    for file in DOCKERFILES:
        text = file.read_text(encoding="utf-8")
        last = re.split(r"^FROM ", text, flags=re.MULTILINE)[-1]
        variables = " ".join(re.findall(r"^ENV (?:.*\\\n)*.*$", text, re.MULTILINE))
        assert "HF_ENDPOINT" not in variables
        assert "MODELMIRROR_URL" not in variables
        assert "HF_ENDPOINT" not in last


def _read(file: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tree


def _pods(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every pod's specification in *tree*."""
    if isinstance(tree, dict):
        if "containers" in tree:
            yield tree
        for value in tree.values():
            yield from _pods(value)
