"""`docs/add-an-analysis.md` word by word: its files and its two lines make a whole job."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.store import open_run
from tests.reference import raw_picture
from tests.small_world import do, draw_pictures, spec_of
from tests.tiny_nets import small

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "add-an-analysis.md").read_text(encoding="utf-8")
COMMANDS = """
import json, sys
from typer.testing import CliRunner
from jobs.cli import app
for words in json.load(sys.stdin):
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, (words, done.output)
    print(json.dumps(done.stdout))
"""
LISTS = {
    "schemas/jobs/__init__.py": '        "gallery",\n',
    "pipeline/report/sections/__init__.py": '        "occlusion",\n',
}


def files_of_the_page() -> dict[str, str]:
    """Each code block of the page under the path that stands before it."""
    found: dict[str, str] = {}
    path = ""
    for line in re.split(r"(^```\w+\n.*?^```$)", PAGE, flags=re.M | re.S):
        block = re.fullmatch(r"```\w+\n(.*?)```", line, re.S)
        if block is None:
            named = re.findall(r"^`([\w/.]+)`:", line, re.M)
            path = named[-1] if named else ""
        else:
            assert path, line
            found[path] = block[1]
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with the page's files and lines in it."""
    copy = tmp_path_factory.mktemp("source")
    for package in ("schemas", "pipeline", "jobs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, copy / package, ignore=ignore)
    for path, text in files_of_the_page().items():
        assert not (copy / path).exists(), f"{path} stands already: the page edits a file"
        (copy / path).parent.mkdir(exist_ok=True)
        (copy / path).write_text(text, encoding="utf-8")
    for path, last in LISTS.items():
        assert f"In\n`{path}`" in PAGE or f"In `{path}`" in PAGE
        text = (copy / path).read_text(encoding="utf-8")
        assert text.count(last) == 1
        (copy / path).write_text(text.replace(last, f'{last}        "certainty",\n'))
    return copy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published scan of 24 pictures."""
    home = tmp_path_factory.mktemp("home")
    draw_pictures(home / "pictures")
    do(spec_of("scan", home / "run", home / "pictures"))
    return home / "run"


def unitscope(source: Path, *commands: list[str]) -> list[str]:
    """What commands of the copy print, one after another in one process."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=source,
        env=os.environ | {"PYTHONPATH": f"{source}{os.pathsep}{ROOT}", "COLUMNS": "200"},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_page_adds_files_and_edits_two_lines():
    files = files_of_the_page()

    assert sorted(files) == [
        "jobs/certainty.py",
        "pipeline/analysis/certainty.py",
        "pipeline/report/sections/certainty/__init__.py",
        "pipeline/report/sections/certainty/certainty.html.j2",
        "pipeline/report/sections/certainty/pages.py",
        "pipeline/stages/certainty.py",
        "schemas/jobs/certainty.py",
    ]
    assert len(LISTS) == 2


def test_command_line_submit_and_schema_know_the_job(source: Path):
    listed, own, submit, schema, spec = unitscope(
        source,
        ["--help"],
        ["certainty", "--help"],
        ["submit", "certainty", "--help"],
        ["schema", "certainty"],
        ["certainty", "runs/a", "--print-spec"],
    )

    assert "how sure the network is of each image" in listed
    assert "--sample" in own
    assert "RUN" in own
    assert "--address" in submit
    assert sorted(json.loads(schema)["properties"]) == ["images", "resources", "run"]
    assert "images:" in spec


def test_job_runs_is_done_once_and_shows_in_status_and_gallery(source: Path, run: Path):
    words = ["certainty", str(run), "--sample", "all", "--local", "--set", "resources.threads=1"]

    first, again, status, built = unitscope(
        source, words, words, ["status", str(run)], ["gallery", str(run)]
    )

    assert "images/s): 24 certainties, 24 images, in " in first
    assert "certainty already done (" in again
    assert "certainty: published" in status
    assert "certain images 24" in built
    pages = run / "gallery"
    assert 'href="certainty.html"' in (pages / "index.html").read_text()
    assert (pages / "certainty.html").read_text().count(" bits</dd>") == 24
    _hold_against_the_definition(run)


def _hold_against_the_definition(run: Path) -> None:
    rows = open_run(str(run)).table("certainties", job="certainty")
    frame = open_run(str(run)).manifest("scan").identity["preprocess"]
    mean, std = (torch.tensor(frame[name]).double().view(3, 1, 1) for name in ("mean", "std"))
    net = small().double().eval()

    for row in rows.head(5).to_dict("records"):
        scores = net((raw_picture(Path(row["uri"])) - mean) / std)
        p = np.exp(scores[0].detach().numpy() - scores[0].max().item())
        p = np.sort(p / p.sum())[::-1]
        assert row["entropy_bits"] == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-5)
        assert row["margin"] == pytest.approx(p[0] - p[1], abs=1e-5)
