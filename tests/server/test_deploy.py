"""What `deploy/` starts can be started: flags and variables exist, and ports, paths and times fit the server."""

import json
import os
import re
import subprocess
import sys
import tomllib
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from akidb_embeddings import __version__
from akidb_embeddings.cli import COMMANDS
from akidb_embeddings.cli import service as user_service
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.server import ENVIRONMENT_PREFIX, FIELDS, ServerConfig
from akidb_embeddings.server import run
from akidb_embeddings.server.app import describe
from akidb_embeddings.server.rpc import server as rpc
from tests.conftest import REPOSITORY
from tests.server.conftest import Running

DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
EXAMPLE = REPOSITORY / "embedding_config.example.yaml"
# What the library reads besides the server's settings, and others' variables that mean something in our files.
OTHER_VARIABLES = {
    "AKIDB_CACHE_DIR",
    "AKIDB_CONFIG",
    "HF_HOME",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
}


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]


def manifest(kind: str) -> dict[str, Any]:
    [found] = [one for one in MANIFESTS if one["kind"] == kind][:1]
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def argument(name: str) -> str:
    """The argument of the Dockerfile's last such instruction."""
    return [rest for instruction, rest in instructions() if instruction == name][-1]


KUSTOMIZATION = documents(KUBERNETES / "kustomization.yaml")[0]
MANIFESTS = [document for name in KUSTOMIZATION["resources"] for document in documents(KUBERNETES / name)]
POD = manifest("Deployment")["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
COMPOSE = documents(DEPLOY / "compose.yaml")[0]["services"]["embeddings"]
IMAGE_VARIABLES = {
    name: value.replace("${MODEL}", "minilm-l6-v2")
    for name, _, value in (pair.partition("=") for pair in argument("ENV").split())
}


def parsed(arguments: list[str]) -> Namespace:
    """The flags of `akidb-embed serve`; the test fails where one is unknown."""
    return COMMANDS["serve"].parse("serve", arguments)


def configuration(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], arguments: list[str], file: Path | None = None
) -> ServerConfig:
    """What the server would make of this."""
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.setenv(name, value)
    flags = {name: value for name, value in vars(parsed(arguments)).items() if name in FIELDS}
    return ServerConfig.resolve(file or EXAMPLE, **flags)


def longest_end(config: ServerConfig) -> float:
    """Seconds from SIGTERM to the process's end at worst, and some: the last round, the last words, two connections."""
    return config.drain_seconds + run._ENGINE_SECONDS + run._CANCEL_SECONDS + rpc._GRACE_SECONDS + 3


def succeeds(module: str, *arguments: str | Path) -> None:
    """Fail unless this program finds nothing to complain of."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr


# The image


def test_the_image_serves_its_model_on_every_address_and_exposes_its_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    program, command, *flags = json.loads(argument("ENTRYPOINT"))
    config = configuration(monkeypatch, IMAGE_VARIABLES, flags)
    assert (program, command) == ("akidb-embed", "serve")
    assert (config.host, config.models) == ("0.0.0.0", ("minilm-l6-v2",))
    assert argument("EXPOSE").split() == [str(config.port), str(config.grpc_port)]
    assert {name for name in IMAGE_VARIABLES if not name.startswith(ENVIRONMENT_PREFIX)} <= OTHER_VARIABLES


def test_the_image_is_built_in_one_stage_and_run_by_a_user_without_rights_in_another() -> None:
    names = [name for name, _ in instructions()]
    stages = [rest for name, rest in instructions() if name == "FROM"]
    assert len(stages) == 2
    assert len({stage.removesuffix(" AS build") for stage in stages}) == 1  # the environment's Python is the image's
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", argument("USER"))
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert argument("STOPSIGNAL") == "SIGTERM"
    copied = [rest for name, rest in instructions() if name == "COPY"]
    assert all((REPOSITORY / source).exists() for rest in copied if "--" not in rest for source in rest.split()[:-1])


def test_what_the_build_copies_is_all_that_it_gets() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert "*" in ignored
    assert copied == allowed


def healthcheck() -> list[str]:
    program, *arguments = json.loads(argument("HEALTHCHECK").partition(" CMD ")[2])
    assert program == "python"
    return [sys.executable, *arguments]


def test_the_images_health_check_passes_with_a_ready_server_and_past_a_proxy(server: Running) -> None:
    port = server.url.rpartition(":")[2]
    environment = os.environ | {"AKIDB_SERVER_PORT": port, "http_proxy": "http://127.0.0.1:9"}
    assert subprocess.run(healthcheck(), env=environment, check=False).returncode == 0


def test_the_images_health_check_fails_where_nobody_listens() -> None:
    done = subprocess.run(
        healthcheck(), env=os.environ | {"AKIDB_SERVER_PORT": "9"}, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 1


# Compose


def test_compose_starts_the_image_with_flags_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(monkeypatch, IMAGE_VARIABLES, COMPOSE["command"])
    ports = [f"127.0.0.1:{port}:{port}" for port in (config.port, config.grpc_port)]
    assert COMPOSE["ports"] == ports
    assert config.api_keys_file == f"/run/secrets/{COMPOSE['secrets'][0]}"
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) >= longest_end(config)
    assert f"127.0.0.1:{config.port}/readyz" in COMPOSE["healthcheck"]["test"][-1]
    assert f"models:{IMAGE_VARIABLES['AKIDB_CACHE_DIR']}" in COMPOSE["volumes"]


def test_the_compose_file_is_one_that_docker_takes() -> None:
    succeeds("check_jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_limits_are_whole_cores_since_a_part_of_one_is_not_used() -> None:
    limits = COMPOSE["deploy"]["resources"]["limits"]["cpus"], CONTAINER["resources"]["limits"]["cpu"]
    assert all(limit.isdigit() for limit in limits)


# Kubernetes


def test_the_pods_configuration_is_one_the_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    file = KUBERNETES / "embedding_config.yaml"
    variables = {one["name"]: one.get("value", "2") for one in CONTAINER["env"]}
    config = configuration(monkeypatch, IMAGE_VARIABLES | variables, CONTAINER.get("args", []), file)
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert not EmbeddingConfig.from_yaml(file).auto_download
    assert variables["AKIDB_CONFIG"] == f"{mounts['config']}/{KUSTOMIZATION['configMapGenerator'][0]['files'][0]}"
    assert set(variables) <= OTHER_VARIABLES
    assert config.api_keys_file == f"{mounts['api-keys']}/api-keys"
    assert {port["name"]: port["containerPort"] for port in CONTAINER["ports"]} == {
        "http": config.port,
        "grpc": config.grpc_port,
    }
    assert POD["metadata"]["annotations"]["prometheus.io/port"] == str(config.port)


def test_a_pod_has_more_time_to_end_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(monkeypatch, {}, [], KUBERNETES / "embedding_config.yaml")
    [_, seconds] = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert POD["spec"]["terminationGracePeriodSeconds"] >= int(seconds) + longest_end(config)


def test_the_pods_probes_and_scrapes_ask_for_routes_that_exist() -> None:
    routes = set(describe().openapi()["paths"])
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {probe["path"] for probe in probes.values()} | {
        POD["metadata"]["annotations"]["prometheus.io/path"]
    } <= routes
    assert {probe["port"] for probe in probes.values()} <= {port["name"] for port in CONTAINER["ports"]}


def test_the_pods_volumes_are_all_there_and_their_root_is_not_writable() -> None:
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {
        volume["name"] for volume in POD["spec"]["volumes"]
    }
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]
    assert not CONTAINER["securityContext"]["allowPrivilegeEscalation"]
    user = POD["spec"]["securityContext"]
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == argument("USER")


def test_services_and_the_rest_select_the_pods() -> None:
    labels = POD["metadata"]["labels"].items()
    for service in [one for one in MANIFESTS if one["kind"] == "Service"]:
        assert service["spec"]["selector"].items() <= labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= {
            port["name"] for port in CONTAINER["ports"]
        }
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", manifest("Deployment")["metadata"]["name"])
    assert "replicas" not in manifest("Deployment")["spec"]  # they are the autoscaler's


def test_kubernetes_makes_no_variables_that_the_server_takes_for_settings() -> None:
    assert POD["spec"]["enableServiceLinks"] is False
    names = [one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "Service"]
    assert not [name for name in names if f"{name.upper().replace('-', '_')}_".startswith(ENVIRONMENT_PREFIX)]


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_every_manifest_is_one_that_kubernetes_takes(version: str) -> None:
    files = [KUBERNETES / name for name in KUSTOMIZATION["resources"]]
    succeeds("kubernetes_validate", "--strict", "--kubernetes-version", version, *files)


# A service of a user


def test_a_service_has_more_time_to_end_than_it_takes() -> None:
    config = ServerConfig()
    assert config.drain_seconds + user_service._END_SECONDS >= longest_end(config)


# All of them


def test_images_are_of_this_version() -> None:
    assert tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]
    tag = f"akidb-embeddings:{__version__}"
    assert [COMPOSE["image"], CONTAINER["image"]] == [tag] * 2
    assert KUSTOMIZATION["images"] == [{"name": "akidb-embeddings", "newTag": __version__}]


def test_the_example_configuration_has_every_key_of_the_server_at_its_default() -> None:
    text = re.sub(r"^  #(?=\w+:)", "  ", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    everything = yaml.safe_load(text)["server"]
    assert list(everything) == list(FIELDS)
    assert ServerConfig(**everything) == ServerConfig() == ServerConfig.resolve(EXAMPLE)
