"""What stands around the code: the lock, make, CI and the image say what is true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from jobs.cli import app
from jobs.spec_io import load_spec
from schemas.jobs.scan import ScanSpec

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = {"help", "setup", "demo", "test", "chaos", "check", "bench", "lock"}
BASE_PROGRAMS = {"[", "apt-get", "command", "echo", "install", "python3", "rm", "useradd"}
"""What a RUN may call before the project's own packages are there: Debian's, and the shell's."""


def _yaml(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "docker" / name).read_text()))


def _compose() -> dict[str, Any]:
    return _yaml("compose.yaml")[0]


def _dockerfile() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, each with its arguments on one line."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "docker/Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)
    ]


def _flags(*command: str) -> set[str]:
    """Every flag of ``unitscope command...``."""
    found = typer.main.get_command(app)
    for word in command:
        found = found.commands[word]
    return {name for parameter in found.params for name in parameter.opts}


def _make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The files that `make setup` reads, in an empty folder."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_lock_pins_every_direct_dependency():
    pinned = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        name, exact, version = line.partition("==")
        assert exact, f"{line} is not pinned"
        pinned[name] = tuple(int(part) for part in re.findall(r"\d+", version))
    extras = PROJECT["optional-dependencies"].values()
    direct = [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]

    for requirement in direct:
        name, _, lowest = requirement.partition(">=")
        name = name.split("[")[0]
        assert name in pinned, f"{name} is not in requirements.lock; make lock"
        assert pinned[name] >= tuple(int(part) for part in lowest.split(".")), requirement


def test_lock_holds_no_address():
    lock = (ROOT / "requirements.lock").read_text()

    assert re.findall(r"^.*(?:://|--|@).*$", lock, flags=re.MULTILINE) == []


def test_makefile_documents_every_target_and_help_prints_it():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)[1].split())

    printed = {line.split()[1] for line in _make().stdout.splitlines()}

    assert phony == printed == TARGETS


def test_makefile_test_checks_before_it_tests():
    dry = _make("--dry-run", "test").stdout

    places = [
        dry.index(word) for word in ("ruff check", "format --check", "bin/mypy", "bin/pytest")
    ]
    assert places == sorted(places)


def test_setup_up_to_date_does_nothing_and_a_new_lock_does(copied: Path):
    (copied / ".venv").mkdir()
    (copied / ".venv/.ready").touch()

    assert "Nothing to be done" in _make("setup", folder=copied).stdout

    later = (copied / ".venv/.ready").stat().st_mtime + 10
    os.utime(copied / "requirements.lock", (later, later))

    assert "--requirement requirements.lock" in _make("-n", "setup", folder=copied).stdout


def test_setup_with_an_old_python_says_which_and_stops(copied: Path):
    old = copied / "old-python"
    pretend = "import sys; sys.version_info = (3, 10, 9); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{pretend}' \"$2\"\n")
    old.chmod(0o755)

    done = _make("setup", f"PYTHON={old}", folder=copied)

    assert done.returncode != 0
    assert f"needs Python 3.11 or newer, {old} is 3.10" in done.stderr
    assert not (copied / ".venv").exists()


def test_setup_without_the_venv_module_says_what_to_install(copied: Path):
    bare = copied / "bare-python"
    pretend = 'import sys; sys.modules["ensurepip"] = None; exec(sys.argv[1])'
    bare.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{pretend}' \"$2\"\n")
    bare.chmod(0o755)

    done = _make("setup", f"PYTHON={bare}", folder=copied)

    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr


def test_ci_run_is_executable_and_only_calls_make_test():
    script = ROOT / ".ci/run"

    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert script.read_text().splitlines()[-1] == "make test"


def test_dockerfile_copies_files_that_exist_and_reach_the_builder():
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = [word for name, rest in _dockerfile() if name == "COPY" for word in rest.split()[:-1]]

    assert set(copied) == allowed
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert not any(fnmatch("docker/ray_token", rule) for rule in allowed)


def test_dockerfile_runs_programs_that_its_base_has_or_it_installed():
    known = set(BASE_PROGRAMS)
    for name, rest in _dockerfile():
        if name != "RUN":
            continue
        for step in re.split(r"&&|\|\||[()]", rest):
            words = step.split()
            assert not words or words[0] in known, f"{words[0]} is not in the image"
            if "venv" in words:
                known.add("python")
            if words[:4] == ["python", "-m", "pip", "install"]:
                known.add(words[-1])


def test_dockerfile_ends_as_a_plain_user_who_runs_unitscope():
    last = dict(_dockerfile())

    assert last["USER"] not in ("", "root", "0")
    assert "import " in last["HEALTHCHECK"]
    assert last["ENTRYPOINT"] == '["unitscope"]'
    assert "unitscope" in PROJECT["scripts"]


def test_compose_publishes_on_the_loopback_only():
    ports = [
        port for service in _compose()["services"].values() for port in service.get("ports", [])
    ]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_gives_every_service_the_token():
    compose = _compose()

    for service in compose["services"].values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert service["secrets"] == ["ray_token"]
    assert compose["secrets"]["ray_token"]["file"] in (ROOT / ".gitignore").read_text()


def test_compose_names_files_that_exist():
    compose = _compose()
    build = compose["services"]["head"]["build"]
    context = ROOT / "docker" / build["context"]

    assert (context / build["dockerfile"]).is_file()
    assert (ROOT / "docker" / compose["configs"]["nightly"]["file"]).is_file()


@pytest.mark.parametrize("service", ["head", "worker"])
def test_compose_starts_ray_with_flags_that_it_has(service: str):
    start = _compose()["services"][service]
    ray = Path(sys.executable).with_name("ray")
    text = subprocess.run([ray, "start", "--help"], capture_output=True, text=True, check=True)

    assert (start["entrypoint"], start["command"][0]) == (["ray"], "start")
    flags = [word.split("=")[0] for word in start["command"][1:]]
    assert [flag for flag in flags if flag not in text.stdout] == []


def _nightly_commands() -> list[str]:
    compose = _compose()["services"]["nightly"]["command"][0].replace("$$", "$")
    pod = _yaml("kubernetes/nightly.yaml")[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return [compose, pod["containers"][0]["args"][0]]


@pytest.mark.parametrize("script", _nightly_commands())
def test_nightly_submits_with_flags_that_the_command_has(script: str):
    night, line = script.split("; exec unitscope submit scan ")
    flags = set(re.findall(r"--\w+", line))

    assert night == "night=scan-$(date -u +%F)"
    assert flags == {"--spec", "--out", "--address", "--id"}
    assert flags <= _flags("submit", "scan")
    assert '--id "$night"' in line


def test_demo_runs_the_command_with_the_flags_that_are_given():
    help_text = _make().stdout
    [line] = re.findall(r"bin/unitscope (.*)", _make("--dry-run", "demo").stdout)
    [short] = re.findall(
        r"bin/unitscope (.*)", _make("--dry-run", "demo", "FLAGS=--minutes 1").stdout
    )

    assert (line.strip(), short) == ("demo", "demo --minutes 1")
    assert "make demo" in help_text
    assert set(re.findall(r"--\w+", help_text)) <= _flags("demo") | {"--upgrade"}


def test_nightly_spec_is_a_scan_that_lacks_only_its_folder():
    spec = _yaml("nightly.yaml")[0]

    assert ScanSpec.model_validate(spec | {"out": "/runs/one"}).data.uri == "/data/images"


def test_example_spec_is_a_whole_scan():
    spec = load_spec(ScanSpec, yaml_path=str(ROOT / "examples/scan.yaml"))

    assert (spec.out, spec.resources.workers) == ("runs/a", 2)


def test_kubernetes_cluster_asks_for_tokens_and_the_nightly_job_has_one():
    cluster = _yaml("kubernetes/cluster.yaml")[0]
    job = _yaml("kubernetes/nightly.yaml")[0]["spec"]["jobTemplate"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    token = next(one for one in container["env"] if one["name"] == "RAY_AUTH_TOKEN")

    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert token["valueFrom"]["secretKeyRef"]["name"] == cluster["metadata"]["name"]
    assert f"http://{cluster['metadata']['name']}-head-svc:8265" in container["args"][0]
    rule = job["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert rule["containerName"] == container["name"]


def test_kubernetes_cluster_runs_the_ray_that_is_locked():
    ray = _yaml("kubernetes/cluster.yaml")[0]["spec"]["rayVersion"]

    assert f"ray=={ray}\n" in (ROOT / "requirements.lock").read_text()
