"""The whole chain on an object store that answers badly, and what must never be written there.

Pictures, their list, the weights and the run are all on S3; a chain into a local folder says what
has to come out.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import pyarrow.parquet as pq
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

import tests.tiny_nets as nets
from jobs.cli import app
from pipeline.io import objects, retry
from pipeline.store import JobFolder, JobStore, open_run
from schemas.errors import NotPublishedError
from tests.tiny_pictures import draw

if TYPE_CHECKING:
    from conftest import S3Server

JOBS = ("scan", "project", "occlude")
KEY, SECRET = "KEYOFTHEPERSON", "open/sesame+7Hk"
PICTURES = 12


@pytest.fixture
def bucket(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with pictures, their list and weights, opened by a secret of its own."""
    system = fsspec.filesystem("s3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    # botocore's own tries pause for seconds, and hide what a store's driver hands on.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(system).clear_instance_cache()
    files = draw(tmp_path / "pictures", PICTURES)
    rows = [f"set/{file.name},{number % 2}" for number, file in enumerate(files)]
    objects.put_once(f"{s3_url}/data/list.csv", "\n".join(["path,label", *rows]).encode())
    for file in files:
        objects.put_once(f"{s3_url}/data/set/{file.name}", file.read_bytes())
    save_file(nets.small().state_dict(), tmp_path / "weights.safetensors")
    weights = (tmp_path / "weights.safetensors").read_bytes()
    objects.put_once(f"{s3_url}/weights.safetensors", weights)
    yield s3_url
    type(system).clear_instance_cache()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """Everything that is put while the test runs: also plans, markers and parts, which go again."""
    seen: list[tuple[str, bytes]] = []
    put_once = objects.put_once

    def recording(url: str, data: bytes) -> bytes:
        seen.append((url, data))
        return put_once(url, data)

    monkeypatch.setattr(objects, "put_once", recording)
    return seen


def scan_command(bucket: str, run: str) -> list[str]:
    return [
        *("scan", "--arch", f"{nets.__file__}:small", "--trust-code", "--local", "--top", "3"),
        *("--data", f"{bucket}/data/list.csv", "--weights", f"{bucket}/weights.safetensors"),
        *("--out", run, "--batch-size", "4", "--shard-size", "4", "--set", "resources.threads=1"),
        *("--set", "preprocess={resize_px: null, crop_px: 24}"),
    ]


def chain(bucket: str, run: str, here: Path) -> str:
    """Every command that works on a run, into ``run``; pages and pictures into ``here``.

    Returns:
        All that they said.
    """
    local = ["--local", "--set", "resources.threads=1"]
    commands = [
        scan_command(bucket, run),
        ["project", run, *local],
        ["occlude", run, "--sample", "3", "--window-px", "8", "--stride-px", "8", *local],
        ["gallery", run, "--out", str(here / "pages")],
        ["status", run],
        ["show", run, "--layer", "relu2", "--unit", "1", "-o", str(here / "unit.png")],
    ]
    return "".join(map(invoke, commands))


def invoke(command: list[str], status: int = 0) -> str:
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.output


def recorded(run: str) -> dict[str, str]:
    """sha256 of every table file of every job, as the manifests say."""
    found = {}
    for job in JOBS:
        manifest = JobStore(JobFolder(run, job)).manifest()
        for files in manifest.tables.values():
            found |= {f"{job}/{file.path}": file.sha256 for file in files}
    return found


def pictures_of(folder: Path) -> dict[str, bytes]:
    """The drawn files by name; the pages' words name the run, so they are left out."""
    files = (file for kind in ("*.webp", "*.png") for file in folder.rglob(kind))
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def words_in(url: str, data: bytes) -> bytes:
    """The bytes of a file, and what a compressed table says."""
    if not url.endswith(".parquet"):
        return data
    return data + str(pq.read_table(io.BytesIO(data)).to_pydict()).encode()


def test_chain_on_a_troubled_object_store_gives_the_tables_of_a_local_folder(
    s3_server: S3Server, bucket: str, tmp_path: Path, written: list[tuple[str, bytes]]
):
    here, there = tmp_path / "here", tmp_path / "there"
    local, remote = str(tmp_path / "run"), f"{bucket}/runs/a"
    chain(bucket, local, here)
    s3_server.trouble_every = 17

    said = chain(bucket, remote, there)

    assert s3_server.troubled > 2 * len(s3_server.TROUBLES)
    s3_server.trouble_every = 0
    assert recorded(remote) == recorded(local)
    assert pictures_of(there).keys() == pictures_of(here).keys() > {"unit.png"}
    assert pictures_of(there) == pictures_of(here)
    names = fsspec.filesystem("s3").find(remote)
    left = {name.removeprefix(remote.removeprefix("s3://")) for name in names}
    assert {name for name in left if not name.endswith(".parquet")} == {
        f"/{job}/manifest.json" for job in JOBS
    }
    assert "already done" in invoke(scan_command(bucket, remote))

    pages = [(file.name, file.read_bytes()) for file in there.rglob("*") if file.is_file()]
    for secret in (KEY, SECRET):
        assert secret not in said
        told = [url for url, data in written + pages if secret.encode() in words_in(url, data)]
        assert told == []


@pytest.mark.parametrize("where", [0, 1, 2])
def test_credentials_in_a_url_are_refused_and_not_repeated(bucket: str, tmp_path: Path, where: int):
    open_url = bucket.replace("s3://", f"s3://{KEY}:{SECRET}@")
    signed = f"https://127.0.0.1:9/list.csv?X-Amz-Credential={KEY}&X-Amz-Signature={SECRET}"
    run = str(tmp_path / "run")
    commands = [
        [scan_command(open_url, run), scan_command(bucket, f"{open_url}/runs/a")],
        [[*scan_command(bucket, run), "--data", signed], ["project", f"{open_url}/runs/a"]],
        [
            ["status", f"{open_url}/runs/a"],
            ["show", f"{open_url}/runs/a", "--layer", "fc", "-o", "a.png"],
        ],
    ]

    for command in commands[where]:
        said = invoke(command, status=2)
        assert "holds credentials" in said
        assert KEY not in said
        assert SECRET not in said
    assert not Path(run).exists()


def test_scan_of_a_store_that_goes_for_a_while_waits_and_ends(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    remote, local = f"{bucket}/runs/a", str(tmp_path / "run")
    marker_put = go_after_marker(monkeypatch, s3_server, 1, requests=4)

    invoke(scan_command(bucket, remote))

    assert next(marker_put) > 1
    assert s3_server.refuse == 0
    invoke(scan_command(bucket, local))
    assert tables_of(remote) == tables_of(local)


def test_scan_of_a_store_that_stays_away_says_so_and_the_next_run_ends_alike(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    remote, local = f"{bucket}/runs/a", str(tmp_path / "run")
    go_after_marker(monkeypatch, s3_server, 2, requests=10**6)
    monkeypatch.setattr(objects, "with_retry", partial(retry.with_retry, timeout_s=0.1))

    said = invoke(scan_command(bucket, remote), status=3)

    last = said.splitlines()[-1]
    assert last.startswith("unitscope: ")
    assert bucket in last
    assert "run the same command again" in last
    assert "Traceback" not in said
    s3_server.reset()
    with pytest.raises(NotPublishedError):
        open_run(remote).table("images", job="scan")
    invoke(scan_command(bucket, remote))
    invoke(scan_command(bucket, local))
    assert tables_of(remote) == tables_of(local)


def test_scan_on_a_store_that_ignores_the_condition_is_refused_before_the_work(
    s3_server: S3Server, bucket: str
):
    s3_server.ignore_condition = True

    said = invoke(scan_command(bucket, f"{bucket}/runs/a"), status=3)

    assert said.splitlines()[-1].startswith(f"unitscope: {bucket}/runs/a/scan/_work: the store ign")
    assert fsspec.filesystem("s3").find(f"{bucket}/runs") == []


def tables_of(run: str) -> dict[str, str]:
    manifest = JobStore(JobFolder(run, "scan")).manifest()
    return {file.path: file.sha256 for files in manifest.tables.values() for file in files}


def go_after_marker(
    monkeypatch: pytest.MonkeyPatch, server: S3Server, count: int, *, requests: int
) -> Iterator[int]:
    """Let the server refuse so many requests once that many shards are committed."""
    commits = itertools.count(1)
    commit_shard: Callable[..., object] = JobStore.commit_shard

    def committing(self: JobStore, *arguments: object) -> object:
        marker = commit_shard(self, *arguments)
        if next(commits) == count:
            server.refuse = requests
        return marker

    monkeypatch.setattr(JobStore, "commit_shard", committing)
    return commits
