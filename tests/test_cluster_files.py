"""The files in `cluster/` and `docker/`, as far as they can be checked without the services that they are for.

Parsed, held against Ray's own schema and a list of fields kept by hand; every command in them exists and knows its
options; the Slurm script runs with stand-ins; the commands of the images run without containers.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import typer
import yaml

from pbt_disent import __version__
from pbt_disent.tune.supervisor import build_parser as build_supervisor
from tests.cli.parsing import parse

ROOT = Path(__file__).parents[1]
CLUSTER, DOCKER = ROOT / "cluster", ROOT / "docker"
FILES = [path for path in (*sorted(CLUSTER.iterdir()), *sorted(DOCKER.iterdir())) if path.name != ".env"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)

# KubeRay 1.6, read in its API reference on 2026-11-26: the fields that the two files use, and no others.
KUBERAY = {
    "RayJob": {
        "entrypoint", "submissionMode", "backoffLimit", "activeDeadlineSeconds", "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished", "runtimeEnvYAML", "rayClusterSpec",
    },
    "RayCluster": {
        "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "authOptions", "headGroupSpec",
        "workerGroupSpecs",
    },
    "headGroupSpec": {"rayStartParams", "template"},
    "workerGroupSpec": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
    "pod": {"securityContext", "containers", "volumes"},
    "container": {"name", "image", "resources", "securityContext", "volumeMounts"},
}  # fmt: skip


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(text_of(path))
    return content


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_was_not_run_says_so_and_what_is_yours_is_marked(path: Path) -> None:
    if path.name == "example.env":
        return
    head = "\n".join(text_of(path).splitlines()[:4])
    assert "NOT RUN: no " in head
    assert "tests/test_cluster_files.py" in head
    if path.parent == CLUSTER:
        assert text_of(path).count("CHANGE") > 3


def ray_command(name: str) -> click.Command:
    from ray.scripts.scripts import cli

    assert isinstance(cli, click.Group)
    assert name in cli.commands, f"ray has no command {name}"
    return cli.commands[name]


def check_options(command: click.Command, arguments: list[str]) -> None:
    """See that a command has every option among the arguments."""
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for argument in arguments:
        if argument == "--":
            return
        if argument.startswith("--"):
            assert argument.split("=")[0] in options, f"{command.name} has no {argument}"


def check_command(line: str) -> str | None:
    """Check a command of ours or of Ray's; return its program, or None for another one's."""
    words = shlex.split(line, comments=True)
    while words and ("=" in words[0] or words[0] in {"env", "export"}) and not words[0].startswith("-"):
        words = words[1:]
    if not words:
        return None
    if words[0] == "pbt-disent":
        parse(words[1:])
    elif words[0] == "ray":
        check_options(ray_command(words[1]), words[2:])
    elif words[:3] == ["python", "-m", "pbt_disent.tune.supervisor"]:
        assert build_supervisor().parse_known_args(words[3:])[1] == []
    elif words[0] == "mlflow":
        help_text = subprocess.run(
            [sys.executable, "-m", "mlflow", words[1], "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in (word.split("=")[0] for word in words[2:] if word.startswith("--")):
            assert re.search(rf"{option}\b", help_text), f"mlflow {words[1]} has no {option}"
    else:
        return None
    return words[0]


def commands_in_head(path: Path) -> Iterator[str]:
    for line in text_of(path).splitlines():
        if not line.startswith("#"):
            return
        if line.startswith("#   "):
            yield from re.split(r"\s+&&\s+", line[1:].strip().removesuffix("&").strip())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_commands_that_a_file_advises_exist(path: Path) -> None:
    for line in commands_in_head(path):
        check_command(re.sub(r">/dev/null.*", "", line))


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for line in ("ray start --no-such-option=1", "ray no-such-command", "pbt-disent submit --no-such-option"):
        with pytest.raises((AssertionError, SystemExit, typer.TyperException)):
            check_command(line)


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_ray_up_files_fit_rays_schema_and_their_commands_exist(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    path = CLUSTER / f"{name}.yaml"
    content = load(path)
    validate_config(prepare_config(load(path)))  # as `ray up` does before it does anything
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**load(path), "no_such_field": 1}))
    for kind in ("head_start_ray_commands", "worker_start_ray_commands"):
        started = [line for line in content[kind] if "ray start" in line]
        assert [check_command(line) for line in content[kind]] == ["ray", "ray"]
        assert len(started) == 1
        assert "RAY_AUTH_MODE=token" in started[0]
        assert "0.0.0.0" not in started[0]
    assert "~/.ray/auth_token" in content["file_mounts"]
    for line in content["setup_commands"]:
        assert subprocess.run(["bash", "-n", "-c", line], check=False).returncode == 0, line
    assert f"pbt_disent-{__version__}-py3-none-any.whl" in text_of(path)
    types = content.get("available_node_types", {})
    assert not types or content["head_node_type"] in types


def test_kuberay_files_use_known_fields_alone() -> None:
    job, cluster = load(CLUSTER / "rayjob.yaml"), load(CLUSTER / "raycluster.yaml")
    for content in (job, cluster):
        assert content["apiVersion"] == "ray.io/v1"
        assert set(content) == {"apiVersion", "kind", "metadata", "spec"}
        assert set(content["spec"]) <= KUBERAY[content["kind"]]
    assert check_command(job["spec"]["entrypoint"]) == "python"
    assert job["metadata"]["name"] in job["spec"]["entrypoint"]
    assert yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "60"
    for spec in (job["spec"]["rayClusterSpec"], cluster["spec"]):
        assert set(spec) <= KUBERAY["RayCluster"]
        assert spec["rayVersion"] == PINS["ray"]
        assert spec["authOptions"] == {"mode": "token"}
        head, workers = spec["headGroupSpec"], spec["workerGroupSpecs"]
        assert set(head) <= KUBERAY["headGroupSpec"]
        assert all(set(group) <= KUBERAY["workerGroupSpec"] for group in workers)
        for group in (head, *workers):
            check_pod(group["template"]["spec"])


def check_pod(pod: dict[str, Any]) -> None:
    assert set(pod) <= KUBERAY["pod"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        assert set(container) <= KUBERAY["container"]
        assert f":{__version__}-" in container["image"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}


def executable(path: Path, content: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{content}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """An environment in which Slurm's commands are there, and in which `ray` notes what it is told."""
    programs = tmp_path / "programs"
    programs.mkdir()
    executable(programs / "scontrol", "echo first; echo second")
    executable(programs / "srun", 'while [[ "$1" == --* ]]; do shift; done; exec "$@"')
    executable(programs / "hostname", "echo 10.1.2.3 10.1.2.4")
    executable(programs / "ray", f'printf "%s\\n" "$@" > {tmp_path}/told; env > {tmp_path}/environment')
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").write_text(f'export PATH="{programs}:$PATH"\n')
    (tmp_path / "my.yaml").write_text("seed: 1\n")
    return {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PBT_DISENT_VENV": str(tmp_path / "venv"),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
    }


def test_the_slurm_script_starts_ray_with_a_token_and_the_supervisor(tmp_path: Path, stand_ins: dict[str, str]) -> None:
    script = CLUSTER / "slurm.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    subprocess.run(["bash", str(script), "my.yaml", "my-run"], env=stand_ins, cwd=tmp_path, check=True)
    words = (tmp_path / "told").read_text().splitlines()
    assert words[0] == "symmetric-run"
    check_options(ray_command("symmetric-run"), [word for word in words[1:] if not word.startswith(START_OPTIONS)])
    check_options(ray_command("start"), [word for word in words[1:] if word.startswith(START_OPTIONS)])
    assert words[words.index("--address") + 1] == "10.1.2.3:23456"
    assert words[words.index("--min-nodes") + 1] == "2"
    behind = words[words.index("--") + 1 :]
    assert behind[:2] == ["env", "RAY_ADDRESS=10.1.2.3:23456"]
    options, extra = build_supervisor().parse_known_args(behind[5:])
    assert (options.name, options.runs, options.config) == ("my-run", f"{tmp_path}/runs", tmp_path / "my.yaml")
    assert extra == []
    environment = (tmp_path / "environment").read_text()
    assert "RAY_AUTH_MODE=token" in environment
    token = tmp_path / ".ray" / "auth_token"
    assert len(token.read_text().strip()) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text().strip() not in "\n".join(words)
    kept = token.read_text()
    subprocess.run(["bash", str(script), "my.yaml", "my-run"], env=stand_ins, cwd=tmp_path, check=True)
    assert token.read_text() == kept
    for arguments in ([], ["my.yaml"]):
        done = subprocess.run(
            ["bash", str(script), *arguments], env=stand_ins, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert "usage: sbatch slurm.sh CONFIG RUN" in done.stderr


START_OPTIONS = ("--num-cpus", "--include-dashboard", "--temp-dir")
"""What symmetric-run passes on to `ray start`."""


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile: the word and what follows it, lines put together."""
    lines = (line for line in text_of(path).splitlines() if line and not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines()]


IMAGES = sorted(DOCKER.glob("*.Dockerfile"))


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_images_are_pinned_slim_and_not_roots(path: Path) -> None:
    lines = instructions(path)
    values = dict(value.split("=", 1) for word, value in lines if word == "ARG")
    for word, value in lines:
        assert word in {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
        if word == "FROM":
            image = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], value.split(" ")[0])
            assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", image)
        if word == "COPY" and "--from" not in value:
            for source in value.split()[:-1]:
                assert (ROOT / source).exists(), source
        if word == "RUN":
            assert subprocess.run(["bash", "-n", "-c", value], check=False).returncode == 0
            assert "apt-get install" not in value or ("--no-install-recommends" in value and "rm -rf" in value)
            assert "pip install" not in value or "-c " in value
            assert "curl" not in value
    words = [word for word, _ in lines]
    (user,) = [value for word, value in lines if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, which Kubernetes can see not to be root's"
    last = len(words) - words[::-1].index("FROM") - 1
    assert {"USER", "HEALTHCHECK", "CMD"} <= set(words[last:])
    assert not any(re.search(r"(?i)(password|secret|token)=(?!token\b)\S", value) for _, value in lines)


IGNORED = {
    "DL3008": "Debian drops old versions of a package from its mirrors, so a pinned one soon cannot be built",
    "DL3059": "a user is no part of what is installed",
}
"""Rules of hadolint that do not apply, and why."""


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    ignored = [f"--ignore={rule}" for rule in IGNORED]
    return subprocess.run([program, "--no-color", *ignored, path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path, tmp_path: Path) -> None:
    done = hadolint(path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    worse = tmp_path / "Dockerfile"
    worse.write_text(text_of(path) + "RUN sudo pip install numpy\nMAINTAINER me\n")
    assert {"DL3004", "DL4000"} <= set(re.findall(r"DL\d{4}", hadolint(worse).stdout))


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_commands_of_the_images_run(name: str) -> None:
    lines = dict(instructions(DOCKER / f"{name}.Dockerfile"))
    health = json.loads(lines["HEALTHCHECK"].split("CMD ")[1])
    for command in (health, json.loads(lines["CMD"])):
        assert command[0] == "pbt-disent"
        done = subprocess.run(
            [sys.executable, "-m", "pbt_disent", *command[1:]], capture_output=True, text=True, check=True
        )
        assert "pbt-disent" in done.stdout


def services() -> dict[str, Any]:
    content: dict[str, Any] = load(DOCKER / "compose.yaml")["services"]
    return content


def test_compose_publishes_on_loopback_alone_has_no_passwords_and_checks_health() -> None:
    asked = set(re.findall(r"\$\{(\w+)", text_of(DOCKER / "compose.yaml")))
    for name, service in services().items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is published beyond this machine"
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN", key):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value)), f"{name} has a default {key}"
        assert ":" in service["image"]
        assert not service["image"].endswith(":latest")
        assert "test" in service["healthcheck"] or name == "bucket" if "healthcheck" in service else name == "mlflow"
    example = text_of(DOCKER / "example.env").splitlines()
    assert {line for line in example if line and not line.startswith("#")} == {f"{name}=" for name in asked}
    ignored = subprocess.run(["git", "check-ignore", "docker/.env"], cwd=ROOT, capture_output=True, check=False)
    assert ignored.returncode in {0, 128}  # 128: a copy without git


def test_the_commands_of_compose_exist_and_ray_asks_for_the_token() -> None:
    for name in ("head", "worker", "mlflow"):
        service = services()[name]
        command = re.sub(r"\$\{[^}]+\}", "x", shlex.join(service["command"]))
        assert check_command(command) in {"ray", "mlflow"}
    for name in ("head", "worker"):
        service = services()[name]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert check_command(shlex.join(service["healthcheck"]["test"][1:])) == "ray"
        assert service["read_only"] is True


def test_the_bucket_is_made_once(objects: str) -> None:
    from pyarrow.fs import S3FileSystem

    endpoint = re.search(r"endpoint_override=([^&]+)", objects)
    assert endpoint is not None
    _, _, program = services()["bucket"]["command"]
    environment = {**os.environ, "MLFLOW_S3_ENDPOINT_URL": f"http://{endpoint[1]}", "AWS_REGION": "us-east-1"}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    store = S3FileSystem(endpoint_override=endpoint[1], scheme="http", region="us-east-1")
    assert store.get_file_info("mlflow").type.name == "Directory"


def test_versions_in_the_mlflow_image_are_those_that_are_tested() -> None:
    content = text_of(DOCKER / "mlflow.Dockerfile")
    assert f"'mlflow=={PINS['mlflow']}'" in content
