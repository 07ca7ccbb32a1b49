"""The scan end to end: one answer however it comes about, and none where it cannot be right."""

from __future__ import annotations

import logging
import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import models
from torchvision.io import ImageReadMode, decode_image
from typer.testing import CliRunner

import tests.tiny_nets as nets
from jobs import engine
from jobs.cli import app
from jobs.spec_io import dump_spec
from pipeline.analysis.unit_stats import UnitSums
from pipeline.stages import scan_tables
from pipeline.stages.contract import StageOutput
from pipeline.stages.scan import ScanStage
from pipeline.store import JobFolder, JobStore, open_run, parts
from schemas.errors import (
    DatasetError,
    LayerError,
    PlanMismatchError,
    TooManyRejectsError,
    WorkerError,
)
from schemas.jobs.scan import SCAN_TOP_PATCHES, ScanSpec
from schemas.manifest import Manifest, Shard
from tests.reference import feature_maps, raw_picture, strongest, top_peaks, unit_statistics
from tests.tiny_pictures import draw

MakeSpec = Callable[..., ScanSpec]
Digests = Callable[[str | Path], dict[str, str]]

LAYERS = ("relu1", "relu2", "fc")
TABLES = ("images", "top_patches", "units", "layers", "rejects")
REJECT = 8
"""image_id of the file that is no picture."""
READABLE = [number for number in range(41) if number != REJECT]
SHARDS = 6


@pytest.fixture(scope="module")
def expected(spec_at: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """sha256 of the tables of a plain local scan."""
    return recorded(engine.run(spec_at(tmp_path_factory.mktemp("plain"))))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One embedded cluster for the module; two CPUs on any machine."""
    ray = pytest.importorskip("ray", reason="needs ray")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
    )
    yield
    ray.shutdown()


def recorded(manifest: Manifest) -> dict[str, str]:
    """sha256 by file, as a manifest says."""
    return {file.path: file.sha256 for files in manifest.tables.values() for file in files}


def read(spec: ScanSpec, table: str) -> pd.DataFrame:
    return pd.read_parquet(f"{spec.out}/scan/{table}")


def store_of(spec: ScanSpec) -> JobStore:
    return JobStore(JobFolder(spec.out, "scan"))


def stop_after(monkeypatch: pytest.MonkeyPatch, shards: int) -> list[int]:
    """Let the stage fail once it has done so many shards; the list tells which were begun."""
    begun: list[int] = []
    process = ScanStage.process

    def failing(self: ScanStage, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        if len(begun) == shards:
            raise OSError("the lights went out")
        begun.append(shard.index)
        return process(self, shard, upcoming)

    monkeypatch.setattr(ScanStage, "process", failing)
    return begun


def count_shards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return stop_after(monkeypatch, -1)


def reference_maps(files: Sequence[Path]) -> list[dict[str, np.ndarray]]:
    """float64 maps of `tiny_nets.small` over pictures of the frame's size."""
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    frames = ((raw_picture(file) - mean) / std for file in files)
    return list(feature_maps(nets.small().double(), LAYERS, frames))


def test_scan_publishes_what_the_definitions_say(make_spec: MakeSpec, pictures: Path):
    spec = make_spec()
    manifest = engine.run(spec)
    files = [path for path in sorted(pictures.rglob("*.png")) if path.stem != "007a"]
    maps = dict(zip(READABLE, reference_maps(files), strict=True))

    tops, units = read(spec, "top_patches"), read(spec, "units").set_index(["layer", "unit"])
    for layer in LAYERS:
        found = tops[tops["layer"] == layer]
        peaks = top_peaks(((i, one[layer]) for i, one in maps.items()), 4, above_zero=layer != "fc")
        wanted = [
            (unit, rank, peak.image_id, peak.y, peak.x)
            for unit, best in enumerate(peaks)
            for rank, peak in enumerate(best, start=1)
        ]
        rows = found[["unit", "rank", "image_id", "y", "x"]].itertuples(index=False, name=None)
        assert list(rows) == wanted
        values = [peak.value for best in peaks for peak in best]
        np.testing.assert_allclose(found["value"], values, rtol=1e-5)
        for unit in range(len(peaks)):
            sums = unit_statistics([float(one[layer][unit].max()) for one in maps.values()])
            row = units.loc[(layer, unit)]
            assert (row["images"], row["active"], row["nonfinite"]) == (40, sums.active, 0)
            assert row["histogram"].tolist() == sums.histogram
            assert [row["max"], row["mean"]] == pytest.approx([sums.max, sums.mean], rel=1e-5)
            assert row["std"] == pytest.approx(sums.std, rel=1e-4)
    relu2 = tops[tops["layer"] == "relu2"]
    # Every fourth pixel, one of padding before the first; a field of 9 pixels.
    assert (relu2["box_y0"] == 4 * relu2["y"] - 1).all()
    assert (relu2["box_x1"] == 4 * relu2["x"] + 8).all()
    assert manifest.counts | {"retries": 0, "shards": SHARDS} == manifest.counts
    assert (manifest.counts["images"], manifest.counts["rejects"]) == (40, 1)


def test_scan_lists_images_labels_and_rejects(make_spec: MakeSpec, pictures: Path):
    spec = make_spec()
    engine.run(spec)

    images, rejects = read(spec, "images"), read(spec, "rejects")
    assert images["image_id"].tolist() == READABLE
    assert images["class_name"].tolist() == ["ants"] * 20 + ["bees"] * 20
    assert images["label"].tolist() == [0] * 20 + [1] * 20
    assert set(zip(images["width"], images["height"], strict=True)) == {(24, 24)}
    assert images["uri"][0] == str(pictures / "ants" / "000.png")
    assert rejects[["image_id", "reason"]].to_numpy().tolist() == [[REJECT, "not_an_image"]]
    assert rejects["uri"][0].endswith("ants/007a.png")
    tops = read(spec, "top_patches")
    uris = images.set_index("image_id")["uri"]
    assert (tops["uri"] == uris.loc[tops["image_id"]].to_numpy()).all()


def test_scan_leaves_nothing_but_tables_and_a_true_manifest(make_spec: MakeSpec, digests: Digests):
    spec = make_spec()
    manifest = engine.run(spec)

    files = digests(f"{spec.out}/scan")
    del files["manifest.json"]
    assert files == recorded(manifest)
    assert {Path(name).suffix for name in files} == {".parquet"}
    assert {Path(name).parts[0] for name in files} == set(TABLES)
    assert [path.name for path in Path(spec.out).iterdir()] == ["scan"]
    assert store_of(spec).manifest() == manifest
    assert ScanSpec.model_validate(manifest.spec) == spec


def test_scan_of_shards_backwards_gives_the_same_tables(
    make_spec: MakeSpec, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    forwards = engine.run_shards

    def backwards(*arguments: object, **options: object) -> object:
        *others, shards = arguments
        return forwards(*others, shards[::-1], **options)

    monkeypatch.setattr(engine, "run_shards", backwards)

    assert recorded(engine.run(make_spec())) == expected


@pytest.mark.parametrize("shards", [0, 1, 4, 5])
def test_scan_interrupted_goes_on_and_gives_the_same_tables(
    make_spec: MakeSpec, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, shards: int
):
    spec = make_spec()
    with monkeypatch.context() as patch:
        first = stop_after(patch, shards)
        with pytest.raises(WorkerError, match="the lights went out"):
            engine.run(spec)
    assert not store_of(spec).published()
    second = count_shards(monkeypatch)
    manifest = engine.run(spec)

    assert first + second == list(range(SHARDS))
    assert recorded(manifest) == expected
    assert manifest.counts["images"] == 40


def test_scan_interrupted_in_the_merge_goes_on_and_gives_the_same_tables(
    make_spec: MakeSpec, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    spec = make_spec()
    with monkeypatch.context() as patch:
        patch.setattr(scan_tables, "unit_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.run(spec)
    begun = count_shards(monkeypatch)

    assert recorded(engine.run(spec)) == expected
    assert begun == []


def test_scan_merge_does_not_hold_the_sums_of_every_shard(
    make_spec: MakeSpec, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    sums: list[weakref.ref[UnitSums]] = []
    held: list[int] = []
    plain = scan_tables.sums_of

    def watched(part: pa.Table) -> UnitSums:
        held.append(sum(one() is not None for one in sums))
        found = plain(part)
        sums.append(weakref.ref(found))
        return found

    monkeypatch.setattr(scan_tables, "sums_of", watched)

    assert recorded(engine.run(make_spec())) == expected
    assert len(held) == SHARDS
    assert max(held) <= 2


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("workers", [1, 2])
def test_scan_on_ray_gives_the_same_tables(
    make_spec: MakeSpec, expected: dict[str, str], workers: int
):
    spec = make_spec(resources={"workers": workers, "threads": 1})

    assert recorded(engine.run(spec)) == expected


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_scan_whose_worker_is_killed_gives_the_same_tables(
    make_spec: MakeSpec, expected: dict[str, str], tmp_path: Path
):
    nets_file = Path(shutil.copy(nets.__file__, tmp_path / "nets.py"))
    resources = {"workers": 2, "threads": 1}
    spec = make_spec(net="mortal", nets_file=nets_file, resources=resources)
    order = tmp_path / nets.CRASH
    order.write_text(f"{store_of(spec).folder.done_folder}\n2\n")

    manifest = engine.run(spec)

    assert not order.exists(), "no worker was killed"
    assert manifest.counts["retries"] >= 1
    assert recorded(manifest) == expected


def test_scan_already_published_is_left_alone(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch):
    spec = make_spec()
    manifest = engine.run(spec)
    files = sorted(Path(spec.out).rglob("*"))
    times = [file.stat().st_mtime_ns for file in files]
    monkeypatch.setattr(engine, "run_shards", lambda *_, **__: pytest.fail("worked again"))

    assert engine.run(spec) == manifest
    assert sorted(Path(spec.out).rglob("*")) == files
    assert [file.stat().st_mtime_ns for file in files if file.is_file()] == [
        time for file, time in zip(files, times, strict=True) if file.is_file()
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"top": 5}, "top: 4 -> 5"),
        ({"batch_size": 2}, "batch_size: 4 -> 2"),
        ({"shard_size": 12}, "shard_size: 8 -> 12"),
        ({"layers": {"exclude": ["fc"]}}, "layers: "),
        ({"model": {"seed": 3, "num_classes": 4}}, "weights_sha256: "),
        ({"data": {"limit": 40}}, "images.count: 41 -> 40"),
        ({"preprocess": {"resize_px": None, "crop_px": 20}}, "preprocess.crop_px: 24 -> 20"),
        ({"precision": "bf16"}, "precision: fp32 -> bf16"),
        ({"resources": {"local": True, "threads": 2}}, "threads: 1 -> 2"),
    ],
)
def test_scan_of_another_plan_on_the_folder_is_refused(
    spec_at: MakeSpec,
    tmp_path: Path,
    digests: Digests,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    field: str,
):
    begun, published = (spec_at(tmp_path / name) for name in ("begun", "published"))
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(WorkerError):
            engine.run(begun)
    engine.run(published)

    for spec in (begun, published):
        before = digests(spec.out)
        with pytest.raises(PlanMismatchError) as refusal:
            engine.run(spec_at(spec.out, **changes))
        assert field in str(refusal.value)
        assert digests(spec.out) == before


def test_scan_without_threads_takes_those_of_the_folder(
    make_spec: MakeSpec,
    spec_at: MakeSpec,
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(engine, "default_threads", lambda: 3)
    spec = make_spec()
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(WorkerError):
            engine.run(spec)
    open_threads = make_spec(resources={"local": True})
    manifest = engine.run(open_threads)
    fresh = engine.run(spec_at(spec.out + "-fresh", resources={"local": True}))

    assert manifest.identity["threads"] == 1
    assert recorded(manifest) == expected
    assert engine.run(open_threads) == manifest
    assert fresh.identity["threads"] == 3


def test_scan_with_too_many_rejects_publishes_only_where_that_is_allowed(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = draw(tmp_path / "data", 10)
    for number in (2, 5):
        files[number].write_bytes(b"")
    uri = str(tmp_path / "data")
    with pytest.raises(TooManyRejectsError, match=r"2 of 10 images.*max_reject_fraction 0\.1"):
        engine.run(make_spec(data={"uri": uri, "max_reject_fraction": 0.1}))
    assert not store_of(make_spec()).published()

    begun = count_shards(monkeypatch)
    spec = make_spec(data={"uri": uri, "max_reject_fraction": 1})
    manifest = engine.run(spec)

    assert begun == []
    assert (manifest.counts["images"], manifest.counts["rejects"]) == (8, 2)
    assert read(spec, "rejects")["image_id"].tolist() == [2, 5]


def test_scan_with_as_many_rejects_as_allowed_is_published(make_spec: MakeSpec):
    assert engine.run(make_spec(data={"max_reject_fraction": 1 / 41})).counts["rejects"] == 1


def test_scan_where_every_image_is_rejected_gives_empty_tables(make_spec: MakeSpec, tmp_path: Path):
    for file in draw(tmp_path / "data", 3):
        file.write_bytes(b"")
    spec = make_spec(data={"uri": str(tmp_path / "data"), "max_reject_fraction": 1})
    engine.run(spec)

    assert [len(read(spec, table)) for table in TABLES] == [0, 0, 19, 3, 3]
    assert read(spec, "units")[["max", "mean", "std"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("images", "top", "batch_size", "shard_size"),
    [
        (1, 9, 4, None),
        (3, 100, 1, 1),
        (5, 9, 64, None),
        (13, 3, 7, 7),
        (13, 3, 3, 6),
        (13, 3, 13, 26),
    ],
)
def test_scan_of_odd_sizes_ranks_the_same(
    make_spec: MakeSpec, tmp_path: Path, images: int, top: int, batch_size: int, shard_size: int
):
    maps = reference_maps(draw(tmp_path / "data", images))
    sizes = {"top": top, "batch_size": batch_size, "shard_size": shard_size}
    spec = make_spec(data={"uri": str(tmp_path / "data")}, **sizes)
    manifest = engine.run(spec)

    assert manifest.counts["images"] == images
    found = read(spec, "top_patches")
    for layer in LAYERS:
        peaks = top_peaks(enumerate(one[layer] for one in maps), top, above_zero=layer != "fc")
        wanted = [(unit, peak.image_id) for unit, best in enumerate(peaks) for peak in best]
        rows = found[found["layer"] == layer]
        assert list(zip(rows["unit"], rows["image_id"], strict=True)) == wanted


def test_scan_of_an_empty_folder_is_an_error(make_spec: MakeSpec, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    spec = make_spec(data={"uri": str(tmp_path / "empty")})

    with pytest.raises(DatasetError, match="empty"):
        engine.run(spec)
    assert not Path(spec.out).exists()


def test_scan_of_an_unknown_layer_names_near_ones(make_spec: MakeSpec):
    spec = make_spec(layers={"include": ["rellu1"]})

    with pytest.raises(LayerError, match=r"'rellu1' matches no layer.*nearest: relu1"):
        engine.run(spec)
    assert not Path(spec.out).exists()


def test_scan_of_chosen_layers_holds_only_these(make_spec: MakeSpec):
    spec = make_spec(layers={"include": ["conv*", "relu2"], "exclude": ["conv1"]}, top=40)
    engine.run(spec)

    assert read(spec, "layers")["layer"].tolist() == ["conv2", "relu2"]
    names = [file.name for file in sorted(Path(spec.out, "scan", "top_patches").iterdir())]
    assert [name.split("-")[1] for name in names] == ["conv2.parquet", "relu2.parquet"]
    values = read(spec, "top_patches").groupby("layer")["value"].agg(["min", "count"])
    assert values.loc["conv2", "count"] == 8 * 40, "a convolution's raw values all rank"
    assert values.loc["conv2", "min"] < 0 < values.loc["relu2", "min"]


def test_scan_of_a_network_without_convolutions(make_spec: MakeSpec, tmp_path: Path):
    files = draw(tmp_path / "data", 6, side=16)
    frame = {"resize_px": None, "crop_px": 16}
    spec = make_spec(net="flat", data={"uri": str(tmp_path / "data")}, preprocess=frame)
    engine.run(spec)

    pixels = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files]) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images = ((pixels - mean[:, None, None]) / std[:, None, None]).reshape(6, -1)
    net = nets.flat().requires_grad_(requires_grad=False)
    scores = images @ net.fc.weight.double().numpy().T + net.fc.bias.double().numpy()
    tops = read(spec, "top_patches")
    assert set(tops["layer"]) == {"fc"}
    for unit in range(4):
        rows = tops[tops["unit"] == unit]
        assert rows["image_id"].tolist() == np.argsort(-scores[:, unit])[:4].tolist()
        np.testing.assert_allclose(rows["value"], np.sort(scores[:, unit])[:1:-1], rtol=1e-4)
    assert (tops[["box_y0", "box_x0", "box_y1", "box_x1"]] == [0, 0, 16, 16]).all(axis=None)


def test_scan_of_a_layer_that_never_fires_gives_an_empty_file(make_spec: MakeSpec):
    spec = make_spec(net="dead")
    manifest = engine.run(spec)

    assert [file.rows for file in manifest.tables["top_patches"]][1] == 0
    assert set(read(spec, "top_patches")["layer"]) == {"relu1", "fc"}
    units = read(spec, "units").query("layer == 'relu2'")
    assert (units["active"] == 0).all()
    assert (units[["max", "mean", "std"]] == 0).all(axis=None)


def test_scan_of_equal_outputs_ranks_by_image(make_spec: MakeSpec):
    spec = make_spec(net="constant", top=9)
    engine.run(spec)

    for _, rows in read(spec, "top_patches").groupby(["layer", "unit"]):
        assert rows["image_id"].tolist() == READABLE[:9]
        assert rows["rank"].tolist() == list(range(1, 10))
        assert (rows[["y", "x"]] == 0).all(axis=None), "of equal places the first"
    assert (read(spec, "units")["std"] < 1e-6).all()


@pytest.mark.parametrize("net", ["poisoned", "infinite"])
def test_scan_of_nonfinite_weights_counts_them_and_ranks_none(
    make_spec: MakeSpec, tmp_path: Path, net: str
):
    spec = make_spec(net=net)
    manifest = engine.run(spec)

    units = read(spec, "units").set_index(["layer", "unit"])
    assert manifest.identity["weights_nonfinite"] == 1
    assert np.isfinite(read(spec, "top_patches")["value"]).all()
    assert (units.loc["relu1"]["nonfinite"] == [0, 0, 40, 0, 0, 0]).all()
    assert (units.loc["fc"]["nonfinite"] == 40).all()
    assert units.loc["fc"]["mean"].isna().all()
    assert read(spec, "images")["label_rank"].isna().all()
    (tmp_path / "scan.yaml").write_text(dump_spec(spec))
    told = CliRunner().invoke(app, ["scan", "--spec", str(tmp_path / "scan.yaml")])
    assert (told.exit_code, told.stderr.count("\n")) == (0, 1)
    assert "weights that are NaN or infinite: 1;" in told.stderr


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def test_scan_of_hostile_weights_is_refused_and_runs_nothing(pictures: Path, tmp_path: Path):
    state = nets.small().state_dict()
    renamed = {name.replace("conv1", "cnov1"): tensor for name, tensor in state.items()}
    files = {
        "code.pth": (state | {"fc.bias": Touch(tmp_path / "ran")}, "not a file of plain weights"),
        "names.pth": (renamed, "missing: conv1.bias (nearest: cnov1.bias"),
        "extra.pth": (state | {"fc2.bias": torch.zeros(2)}, "not in the model: fc2.bias"),
        "shape.pth": (
            state | {"conv1.weight": torch.zeros(6, 3, 5, 5)},
            "conv1.weight is [6, 3, 5, 5], the model has [6, 3, 3, 3]",
        ),
        "none.pth": ({}, "missing: conv1.bias"),
    }
    for name, (content, says) in files.items():
        torch.save(content, tmp_path / name)
        words = ["scan", "--arch", f"{nets.__file__}:small", "--trust-code", "--local"]
        words += ["--data", str(pictures), "--out", str(tmp_path / "run")]
        result = CliRunner().invoke(app, [*words, "--weights", str(tmp_path / name)])

        assert result.exit_code == 2, result.stderr
        assert (says in result.stderr, result.stderr.count("\n")) == (True, 1), result.stderr
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


def test_scan_cuts_large_tables_into_files(
    make_spec: MakeSpec, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parts, "_ROWS_A_FILE", 15)
    spec = make_spec()
    manifest = engine.run(spec)

    assert [file.rows for file in manifest.tables["images"]] == [15, 16, 9]
    assert read(spec, "images")["image_id"].tolist() == READABLE
    found = recorded(manifest)
    assert all(found[name] == expected[name] for name in expected if "images" not in name)


def test_scan_overtaken_by_another_driver_returns_what_that_one_published(
    make_spec: MakeSpec, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    spec, others = make_spec(), []
    run_shards = engine.run_shards

    def overtaken(*arguments: object, **options: object) -> object:
        if not others:
            others.append(None)
            others[0] = engine.run(spec)
        return run_shards(*arguments, **options)

    monkeypatch.setattr(engine, "run_shards", overtaken)

    assert engine.run(spec) == others[0]
    assert recorded(others[0]) == expected
    assert not Path(spec.out, "scan", "_work").exists()


def test_scan_on_s3_through_the_command_line_gives_the_same_tables(
    make_spec: MakeSpec, s3_url: str, pictures: Path, tmp_path: Path, expected: dict[str, str]
):
    files = fsspec.filesystem("s3")
    files.put(f"{pictures}/", f"{s3_url}/data/", recursive=True)
    save_file(nets.small().state_dict(), tmp_path / "weights.safetensors")
    files.put(str(tmp_path / "weights.safetensors"), f"{s3_url}/weights.safetensors")
    places = {"--data": "data", "--weights": "weights.safetensors", "--out": "runs/a"}
    command = ["scan", "--arch", f"{nets.__file__}:small", "--trust-code", "--local", "--top", "4"]
    command += [word for flag, place in places.items() for word in (flag, f"{s3_url}/{place}")]
    command += ["--batch-size", "4", "--shard-size", "8", "--set", "resources.threads=1"]
    command += ["--set", "preprocess={resize_px: null, crop_px: 24}"]

    for _ in range(2):
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    run = f"{s3_url}/runs/a"
    found = recorded(JobStore(JobFolder(run, "scan")).manifest())
    with_uris = ("images", "top_patches", "rejects")
    assert {n: d for n, d in found.items() if not n.startswith(with_uris)} == {
        n: d for n, d in expected.items() if not n.startswith(with_uris)
    }
    local = make_spec()
    engine.run(local)
    for table in with_uris:
        remote = pd.read_parquet(f"{run}/scan/{table}")
        here = read(local, table)
        assert remote["uri"].str.startswith(s3_url).all()
        pd.testing.assert_frame_equal(remote.drop(columns="uri"), here.drop(columns="uri"))
    names = {file.rpartition("/")[2] for file in files.find(run)}
    assert {name for name in names if not name.endswith(".parquet")} == {"manifest.json"}


def test_scan_tables_read_alike_in_pandas_polars_duckdb_and_arrow(make_spec: MakeSpec):
    spec = make_spec()
    engine.run(spec)
    folder = f"{spec.out}/scan/top_patches"
    names = SCAN_TOP_PATCHES.schema.names
    chosen = [("layer", "==", "relu2"), ("unit", "==", 5)]

    frame = pd.read_parquet(folder, filters=chosen)
    by_polars = pl.scan_parquet(folder).filter(layer="relu2", unit=5).collect()
    by_duckdb = duckdb.sql(
        f"select * from read_parquet('{folder}/*.parquet') where layer = 'relu2' and unit = 5"
    ).fetchall()
    by_arrow = ds.dataset(folder).to_table(
        filter=(ds.field("layer") == "relu2") & (ds.field("unit") == 5)
    )
    by_us = open_run(spec.out).table("top_patches", layer="relu2", unit=5)

    rows = list(frame[names].itertuples(index=False, name=None))
    assert [row[:3] for row in rows] == [("relu2", 5, rank) for rank in (1, 2, 3, 4)]
    assert by_polars.select(names).rows() == rows
    assert by_duckdb == rows
    assert [tuple(row.values()) for row in by_arrow.to_pylist()] == rows
    assert list(by_us[names].itertuples(index=False, name=None)) == rows


@pytest.fixture
def photo_run(make_spec: MakeSpec, shared_data: Path) -> ScanSpec:
    """SqueezeNet over the first 200 photos."""
    weights = shared_data / "weights" / "squeezenet1_1.safetensors"
    spec = make_spec(
        model={"arch": "squeezenet1_1", "weights": str(weights), "trust_code": False},
        data={"uri": str(shared_data / "photos.csv"), "limit": 200},
        preprocess=None,
        top=9,
        batch_size=32,
        shard_size=64,
    )
    engine.run(spec)
    return spec


@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
def test_scan_of_squeezenet_on_photos_equals_plain_torchvision(
    photo_run: ScanSpec, shared_data: Path
):
    torch.set_num_threads(1)
    net = models.squeezenet1_1()
    net.load_state_dict(load_file(photo_run.model.weights))
    preset = models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    photos = pd.read_csv(shared_data / "photos.csv")[:200]
    layers = read(photo_run, "layers").sort_values("position")

    def frames(numbers: Sequence[int]) -> Iterator[torch.Tensor]:
        for path in photos["path"].iloc[list(numbers)]:
            photo = str(shared_data / path)
            picture = decode_image(photo, ImageReadMode.RGB, apply_exif_orientation=True)
            yield preset(picture)[None]

    plain = strongest(feature_maps(net, list(layers["layer"]), frames(range(200))))
    tops = read(photo_run, "top_patches")
    for layer, activation in zip(layers["layer"], layers["activation"], strict=True):
        found, everything = tops[tops["layer"] == layer], plain[layer]
        order = everything.order(9, above_zero=activation)
        unit, rank, image = (found[name].to_numpy() for name in ("unit", "rank", "image_id"))
        assert len(found) == (order >= 0).sum()
        wanted = order[rank - 1, unit]
        values = everything.values[wanted, unit]
        np.testing.assert_allclose(found["value"], values, rtol=1e-5)
        # Another order of equally strong images, and only that, is no difference.
        np.testing.assert_allclose(everything.values[image, unit], values, rtol=1e-5)
        places = np.stack([everything.y[image, unit], everything.x[image, unit]], axis=1)
        moved = np.nonzero((found[["y", "x"]].to_numpy() != places).any(axis=1))[0]
        for row in found.iloc[moved].itertuples():
            maps = next(iter(feature_maps(net, [layer], frames([row.image_id]))))
            assert maps[layer][row.unit, row.y, row.x] == pytest.approx(row.value, rel=1e-5)
    images = read(photo_run, "images")
    scores = plain[layers["layer"].iloc[-1]].values
    assert (images["predicted"] == scores.argmax(axis=1)).all()
    assert (images["label"] == photos["label"]).all()
    ranks = 1 + (scores > scores[np.arange(200), photos["label"]][:, None]).sum(axis=1)
    assert (images["label_rank"] == ranks).all()
