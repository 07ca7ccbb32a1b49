"""Correspondence of parts in a scan's images: the definition, what is left out, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torchvision.models.feature_extraction import create_feature_extractor

import tests.tiny_nets as nets
from jobs import engine
from jobs.correspond import MOST_COUNTS, chosen_layers
from jobs.engine import run_and_report
from jobs.published_scan import open_published_scan
from pipeline.analysis.correspondence import Box, random_box
from pipeline.stages.contract import StageOutput
from pipeline.stages.correspond import CorrespondStage
from pipeline.store import open_run
from schemas.errors import DatasetError, PlanMismatchError, SpecError
from schemas.jobs.correspond import CorrespondSpec
from schemas.jobs.scan import ScanSpec
from schemas.manifest import Shard
from schemas.specs import LayerSelection
from tests.reference import raw_picture

MakeSpec = Callable[..., ScanSpec]
Digests = Callable[[str | Path], dict[str, str]]
MEAN, STD = (
    torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
    for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)
GREY = (128 / 255 - MEAN) / STD
# image_id: the boxes of its parts; they reach into the frame of 24 pixels, or not.
BOXES = {
    0: {"eye": (2, 3, 8, 9), "nose": (12, 12, 18, 17)},
    3: {"eye": (4, 5, 9, 10), "nose": (-4, 10, 5, 15)},
    25: {"eye": (8, 1, 14, 8), "tail": (1, 1, 4, 4)},
    26: {"eye": (30, 3, 36, 9), "nose": (9, 12, 14, 18)},
}
IN_FRAME = {
    "eye": {0: (2, 3, 8, 9), 3: (4, 5, 9, 10), 25: (8, 1, 14, 8)},
    "nose": {0: (12, 12, 18, 17), 3: (0, 10, 5, 15), 26: (9, 12, 14, 18)},
}


@pytest.fixture(scope="module")
def scanned(spec_at: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published scan."""
    run = tmp_path_factory.mktemp("scanned") / "run"
    engine.run(spec_at(run, data={"max_reject_fraction": 0.1}))
    return run


@pytest.fixture
def run(scanned: Path, tmp_path: Path) -> Path:
    """The scan alone, in a folder of the test's own, and the boxes beside it."""
    shutil.copytree(scanned / "scan", tmp_path / "run" / "scan")
    uris = open_run(str(scanned)).table("images", job="scan").set_index("image_id")["uri"]
    rows = [(uris[i], part, box) for i, own in BOXES.items() for part, box in own.items()]
    write_boxes(tmp_path / "parts.csv", rows)
    return tmp_path / "run"


def write_boxes(file: Path, rows: Sequence[tuple[str, str, tuple[int, ...]]]) -> None:
    lines = [f"{uri},{part},{','.join(map(str, box))}\n" for uri, part, box in rows]
    file.write_text(f"path,part,y0,x0,y1,x1\n{''.join(lines)}")


def _spec(home: Path, **changes: object) -> CorrespondSpec:
    fields = {
        "run": str(home),
        "boxes": str(home.parent / "parts.csv"),
        "draws": 3,
        "resources": {"local": True, "threads": 1},
    }
    return CorrespondSpec.model_validate(fields | changes)


def _table(run: Path, name: str) -> pd.DataFrame:
    return open_run(str(run)).table(name, job="correspond")


def _eps(frame: Tensor, box: Box) -> dict[str, Tensor]:
    """x - x~ at both layers, in float64."""
    net = create_feature_extractor(nets.small().double().eval(), ["relu2", "fc"])
    y0, x0, y1, x1 = box
    masked = frame.clone()
    masked[:, :, y0:y1, x0:x1] = GREY
    with torch.inference_mode():
        clean, hidden = net(frame), net(masked)
    return {name: (clean[name] - hidden[name]).flatten() for name in clean}


def _delta(eps: list[Tensor]) -> tuple[int, int, float]:
    """Hamming distance over ordered pairs, length, share of zeros: a double loop."""
    distance = sum(
        int((a.sign() != b.sign()).sum())
        for i, a in enumerate(eps)
        for j, b in enumerate(eps)
        if i != j
    )
    return distance, len(eps[0]), float(torch.stack(eps).eq(0).double().mean())


def test_correspond_equals_the_definition(run: Path):
    engine.run(_spec(run, seed=4))

    rows, summary = _table(run, "consistency"), _table(run, "summary")
    uris = open_run(str(run)).table("images", job="scan").set_index("image_id")["uri"]
    frames = {i: (raw_picture(Path(uris[i])) - MEAN) / STD for i in BOXES}
    assert rows["layer"].unique().tolist() == ["relu2", "fc"]
    assert len(rows) == 2 * 2 * 4
    for part, boxes in IN_FRAME.items():
        for draw in range(-1, 3):
            eps = [
                _eps(frames[i], box if draw < 0 else random_box(box, 24, 4, i, part, draw))
                for i, box in boxes.items()
            ]
            for layer in ("relu2", "fc"):
                wanted, length, zeros = _delta([each[layer] for each in eps])
                mine = (rows["layer"] == layer) & (rows["part"] == part) & (rows["draw"] == draw)
                [row] = rows[mine].to_dict("records")
                assert (row["hamming"], row["length"], row["images"]) == (wanted, length, 3)
                assert row["delta"] == wanted / (6 * length)
                assert row["zeros"] == pytest.approx(zeros, abs=1e-12)
    for row in summary.to_dict("records"):
        own = rows[(rows["layer"] == row["layer"]) & (rows["part"] == row["part"])]
        delta, *random = own["delta"]
        mean, std = np.mean(random), np.std(random, ddof=1)
        assert (row["delta"], row["random_mean"], row["random_std"]) == (
            delta,
            pytest.approx(mean),
            pytest.approx(std),
        )
        if std:
            assert row["deviations"] == pytest.approx((mean - delta) / std)
        else:
            assert pd.isna(row["deviations"])


@pytest.mark.parametrize("shards", [1, 2])
def test_correspond_gives_the_same_bytes_however_it_is_cut(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: Digests, shards: int
):
    one_each = engine.run(_spec(run))
    shutil.copytree(run / "scan", tmp_path / "other" / "scan")
    monkeypatch.setattr(engine, "default_shard_size", lambda *_, **__: 4 // shards)

    manifest = engine.run(_spec(run, run=str(tmp_path / "other")))

    assert (one_each.counts["shards"], manifest.counts["shards"]) == (4, shards)
    for name in ("consistency", "summary"):
        wanted = digests(run / "correspond" / name)
        assert digests(tmp_path / "other" / "correspond" / name) == wanted
        assert wanted


def test_correspond_stopped_and_resumed_gives_the_same_bytes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: Digests
):
    monkeypatch.setattr(engine, "default_shard_size", lambda *_, **__: 2)
    shutil.copytree(run / "scan", tmp_path / "stopped" / "scan")
    engine.run(_spec(run))
    process = CorrespondStage.process

    def stop_at_one(
        self: CorrespondStage, shard: Shard, upcoming: Shard | None = None
    ) -> StageOutput:
        if shard.index == 1:
            raise KeyboardInterrupt
        return process(self, shard, upcoming)

    spec = _spec(run, run=str(tmp_path / "stopped"))
    with monkeypatch.context() as patch:
        patch.setattr(CorrespondStage, "process", stop_at_one)
        with pytest.raises(KeyboardInterrupt):
            engine.run(spec)
    engine.run(spec)

    for name in ("consistency", "summary"):
        wanted = digests(run / "correspond" / name)
        assert digests(tmp_path / "stopped" / "correspond" / name) == wanted
        assert wanted


def test_correspond_says_what_it_left_out(run: Path):
    report = run_and_report(_spec(run))

    assert "24 masks of eye, nose and random places on 4 images, layers relu2, fc" in report.text
    alone, outside = report.warnings
    assert alone.startswith("tail: left out, fewer than two images have it")
    assert outside.startswith("boxes outside the network's input frame, which are left out: 1, the")
    assert "first: eye of " in outside


def test_correspond_of_chosen_parts_looks_at_their_images_alone(run: Path):
    manifest = engine.run(_spec(run, parts=["nose"]))

    assert manifest.counts["images"] == 3
    assert _table(run, "summary")["part"].unique().tolist() == ["nose"]


@pytest.mark.parametrize(
    ("parts", "says"),
    [(["tail"], "'tail' is in one image only, and pairs need two"), (["noze"], "nearest: nose")],
)
def test_correspond_of_a_part_without_a_pair_is_refused(run: Path, parts: list[str], says: str):
    with pytest.raises(SpecError, match=says):
        engine.run(_spec(run, parts=parts))
    assert not (run / "correspond").exists()


def test_correspond_of_boxes_without_any_pair_is_refused(run: Path):
    uri = open_run(str(run)).table("images", job="scan")["uri"][0]
    write_boxes(run.parent / "parts.csv", [(uri, "nose", (1, 1, 5, 5))])

    with pytest.raises(SpecError, match="no part that two scanned images have"):
        engine.run(_spec(run))


def test_correspond_with_boxes_of_other_pictures_is_refused(run: Path):
    write_boxes(run.parent / "parts.csv", [("elsewhere.png", "nose", (1, 1, 5, 5))])

    with pytest.raises(DatasetError, match="names 1 pictures, none of them scanned"):
        engine.run(_spec(run))


def test_correspond_with_a_part_twice_in_an_image_is_refused(run: Path):
    uri = open_run(str(run)).table("images", job="scan")["uri"][0]
    write_boxes(run.parent / "parts.csv", [(uri, "eye", (1, 1, 5, 5)), (uri, "eye", (9, 1, 15, 5))])

    with pytest.raises(DatasetError, match=r"has 'eye' of .* twice; a part has one box per image"):
        engine.run(_spec(run))


def test_correspond_again_with_a_box_moved_is_refused(run: Path):
    engine.run(_spec(run))
    text = (run.parent / "parts.csv").read_text()
    (run.parent / "parts.csv").write_text(text.replace("2,3,8,9", "2,3,8,10"))

    with pytest.raises(PlanMismatchError, match="boxes"):
        engine.run(_spec(run))


def test_correspond_of_more_counts_than_memory_holds_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    assert MOST_COUNTS == 2**26
    monkeypatch.setattr("jobs.correspond.MOST_COUNTS", 1639)

    with pytest.raises(SpecError, match=r"need 1,640 counts.* the largest is relu2 \(200 values\)"):
        engine.run(_spec(run))


@pytest.mark.parametrize(
    ("selection", "layers"),
    [
        ({}, ("relu2", "fc")),
        ({"include": ["relu*"]}, ("relu1", "relu2")),
        ({"exclude": ["fc"]}, ("relu2",)),
        ({"exclude": ["relu2"]}, ("relu1", "fc")),
    ],
)
def test_chosen_layers_are_the_last_map_and_the_last_vector(
    run: Path, selection: dict[str, list[str]], layers: tuple[str, ...]
):
    scan = open_published_scan(str(run))

    assert chosen_layers(scan, LayerSelection.model_validate(selection)) == layers
