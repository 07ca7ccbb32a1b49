from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.show import draw
from pipeline.store import JobFolder, JobStore, open_run
from pipeline.store.layout import layer_file
from schemas.errors import LayerError, NotPublishedError, SpecError
from schemas.jobs.occlude import OcclusionFigure
from schemas.jobs.scan import SCAN_IMAGES, SCAN_LAYERS, SCAN_TOP_PATCHES, SCAN_UNITS, UnitsFigure
from schemas.manifest import FileRecord, Manifest, Provenance
from schemas.specs import PreprocessSpec
from schemas.tables import Table
from tests import made_up_run

SIDE = 32
COLOURS = [(230, 30, 30), (30, 200, 40), (40, 60, 220), (220, 200, 20)]
LAYERS = {"features.0": 3, "features.3": 70}
PROVENANCE = Provenance(
    created_at="2026-11-24T03:00:00Z",
    argv=(),
    unitscope_version="0",
    git_commit=None,
    git_dirty=None,
    python="3.11",
    versions={},
    platform="linux",
    device="cpu",
)


def _png(colour: tuple[int, int, int]) -> bytes:
    """A picture of 64 x 32: white left, colour in the upper right, black below it."""
    pixels = np.full((32, 64, 3), 255, np.uint8)
    pixels[:16, 32:] = colour
    pixels[16:, 32:] = 0
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def _folder(root: Path) -> list[str]:
    uris = []
    for place, colour in enumerate(COLOURS):
        path = root / f"image{place}.png"
        path.write_bytes(_png(colour))
        uris.append(str(path))
    return uris


def _tar(root: Path) -> list[str]:
    path = root / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for place, colour in enumerate(COLOURS):
            info = tarfile.TarInfo(f"cat/image{place}.png")
            data = _png(colour)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return [f"{path}#cat/image{place}.png" for place in range(4)]


def _parquet(root: Path) -> list[str]:
    path = root / "images.parquet"
    cells = [{"bytes": _png(colour), "path": None} for colour in COLOURS]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(cells, kind)}), path)
    return [f"{path}#{place}" for place in range(4)]


def _top(uris: Sequence[str], layer: str, units: int) -> list[dict[str, object]]:
    """Unit u has the images u, u + 1 ... as its patches; unit 1 has two, unit 2 none."""
    counts = {1: 2, 2: 0}
    return [
        {
            "layer": layer,
            "unit": unit,
            "rank": rank + 1,
            "image_id": (unit + rank) % 4,
            "uri": uris[(unit + rank) % 4],
            "value": 10.0 - rank,
            "y": 0,
            "x": 0,
            "box_y0": -4,
            "box_x0": 20,
            "box_y1": 12,
            "box_x1": 36,
        }
        for unit in range(units)
        for rank in range(counts.get(unit, 4))
    ]


def _put(store: JobStore, table: Table, rows: list[dict[str, object]], name: str) -> FileRecord:
    return store.put_table(table, name, pa.Table.from_pylist(rows, schema=table.schema))


def _published(root: Path, uris: Sequence[str]) -> str:
    """A scan of two layers over four pictures, cut to the middle 32 x 32 of 64 x 32."""
    store = JobStore(JobFolder(str(root / "run"), "scan"))
    images: list[dict[str, object]] = [
        {
            "image_id": place,
            "uri": uri,
            "label": 7,
            "class_name": None if place == 3 else f"colour {place}",
            "width": 64,
            "height": 32,
            "predicted": 0,
            "p_predicted": 1.0,
            "p_label": 1.0,
            "label_rank": 1,
        }
        for place, uri in enumerate(uris)
    ]
    layers: list[dict[str, object]] = [
        {
            "layer": layer,
            "position": position,
            "kind": "relu",
            "activation": True,
            "units": units,
            "map_height": 8,
            "map_width": 8,
            "stride_y": 4,
            "stride_x": 4,
            "field_height": 16,
            "field_width": 16,
            "gated": False,
            "whole_frame": None,
        }
        for position, (layer, units) in enumerate(LAYERS.items())
    ]
    facts: list[dict[str, object]] = [
        {
            "layer": layer,
            "unit": unit,
            "images": 4,
            "active": 4,
            "nonfinite": 0,
            "max": 10.0,
            "mean": 8.0,
            "std": 1.0,
            "histogram": [4],
        }
        for layer, units in LAYERS.items()
        for unit in range(units)
    ]
    tops = [
        _put(store, SCAN_TOP_PATCHES, _top(uris, layer, units), layer_file(position, layer))
        for position, (layer, units) in enumerate(LAYERS.items())
    ]
    tables = {
        "images": (_put(store, SCAN_IMAGES, images, "part-0.parquet"),),
        "layers": (_put(store, SCAN_LAYERS, layers, "part-0.parquet"),),
        "units": (_put(store, SCAN_UNITS, facts, "part-0.parquet"),),
        "top_patches": tuple(tops),
    }
    preprocess = PreprocessSpec(resize_px=32, crop_px=SIDE)
    store.publish(
        Manifest(
            job="scan",
            fingerprint="f",
            identity={"preprocess": preprocess.model_dump(mode="json")},
            spec={"data": {"uri": "x", "max_pixels": 10_000}},
            tables=tables,
            counts={"images": 4},
            provenance=PROVENANCE,
        )
    )
    return store.folder.run


def _colours(picture: np.ndarray) -> list[int]:
    """The pictures' colours that are seen, from left to right, row after row of patches."""
    places = []
    for index, colour in enumerate(COLOURS):
        mask = (picture == colour).all(axis=2)
        rows = np.flatnonzero(mask.any(axis=1))
        for start in rows[np.diff(rows, prepend=-9) > 1]:
            columns = np.flatnonzero(mask[start + 4])
            places += [
                (int(start), int(column), index)
                for column in columns[np.diff(columns, prepend=-9) > 1]
            ]
    return [index for _, _, index in sorted(places)]


def _units(url: str, layer: str, out: str, **asked: Any) -> tuple[int, int]:
    return draw(url, "scan", UnitsFigure(layer=layer, **asked), out)


def _occlusion(url: str, image_id: int, out: str) -> tuple[int, int]:
    return draw(url, "occlude", OcclusionFigure(occlusion=image_id), out)


@pytest.mark.parametrize("kind", [_folder, _tar, _parquet])
def test_run_unit_shows_the_boxes_of_the_run_s_own_frame(tmp_path: Path, kind: object):
    url = _published(tmp_path, kind(tmp_path))  # type: ignore[operator]
    out = tmp_path / "new" / "unit.png"
    size = _units(url, "features.0", str(out), unit=0)
    picture = np.asarray(Image.open(out))
    assert picture.shape == (size[1], size[0], 3)
    assert _colours(picture) == [0, 1, 2, 3]
    # The box is 16 px drawn six-fold: 4 rows above the frame, 4 columns right of it; of the frame
    # (columns 16 to 47 of the picture) it has columns 20 to 31, all right of the white half.
    mask = (picture == COLOURS[0]).all(axis=2)
    (y0, x0), (y1, x1) = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0) + 1
    assert (y1 - y0, x1 - x0) == (12 * 6, 12 * 6)
    for outside in (picture[y0 - 24 : y0, x0:x1], picture[y0:y1, x1 : x1 + 24]):
        assert (outside.max(axis=2) == outside.min(axis=2)).all()
        assert 100 < outside.min() <= outside.max() < 200


def test_run_unit_with_two_patches_shows_two(tmp_path: Path):
    url = _published(tmp_path, _folder(tmp_path))
    out = tmp_path / "unit.png"
    _units(url, "features.0", str(out), unit=1)
    assert _colours(np.asarray(Image.open(out))) == [1, 2]


def test_run_sheet_has_one_row_a_unit_and_stops_at_the_last_unit(tmp_path: Path):
    url = _published(tmp_path, _folder(tmp_path))
    out = tmp_path / "sheet.png"
    _units(url, "features.0", str(out), units="0-63")
    assert _colours(np.asarray(Image.open(out))) == [0, 1, 2, 3, 1, 2]
    _units(url, "features.3", str(out), units="66-199")
    seen = _colours(np.asarray(Image.open(out)))
    assert seen == [(unit + rank) % 4 for unit in range(66, 70) for rank in range(4)]


def test_run_image_gone_or_broken_since_leaves_its_place(tmp_path: Path):
    uris = _folder(tmp_path)
    url = _published(tmp_path, uris)
    Path(uris[0]).unlink()
    Path(uris[2]).write_bytes(b"no picture")
    out = tmp_path / "unit.png"
    _units(url, "features.0", str(out), unit=0)
    picture = np.asarray(Image.open(out))
    assert _colours(picture) == [1, 3]
    assert ((picture == (206, 206, 206)).all(axis=2)).sum() > 96 * 96


def test_run_container_gone_since_leaves_all_places(tmp_path: Path):
    url = _published(tmp_path, _tar(tmp_path))
    (tmp_path / "shard.tar").unlink()
    out = tmp_path / "unit.png"
    _units(url, "features.0", str(out), unit=0)
    assert _colours(np.asarray(Image.open(out))) == []


def test_run_unknown_layer_unit_and_run_are_refused(tmp_path: Path):
    url = _published(tmp_path, _folder(tmp_path))
    out = str(tmp_path / "unit.png")
    with pytest.raises(LayerError, match=r"features\.1.*nearest: features"):
        _units(url, "features.1", out, unit=0)
    with pytest.raises(LayerError, match="no unit 3; choices: 0 to 2"):
        _units(url, "features.0", out, unit=3)
    with pytest.raises(NotPublishedError):
        _units(str(tmp_path / "none"), "features.0", out, unit=0)
    assert not Path(out).exists()


def test_run_unwritable_out_is_refused(tmp_path: Path):
    url = _published(tmp_path, _folder(tmp_path))
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(SpecError, match="cannot be written"):
        _units(url, "features.0", str(folder), unit=0)
    with pytest.raises(SpecError, match=r"unit.jpg: a picture is written as .png or .pdf"):
        _units(url, "features.0", str(tmp_path / "unit.jpg"), unit=0)


def test_run_projections_stand_beside_their_patches(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 4})
    made_up_run.project(url, {"conv1": 4})
    tops = open_run(url).table("top_patches", layer="conv1")
    out = tmp_path / "unit.png"
    for units, count in ((range(1), 9), (range(3, 4), 2), (range(4), 29)):
        if len(units) > 1:
            _units(url, "conv1", str(out), units="0-3")
        else:
            _units(url, "conv1", str(out), unit=units.start)
        with Image.open(out) as picture:
            pixels = np.asarray(picture).astype(int)
        red, blue = pixels[:, :, 0] - pixels[:, :, 2], pixels[:, :, 2] - pixels[:, :, 0]
        patches, projections = (red > 150).sum(), (blue > 150).sum()
        assert patches == projections > 0
        scale = 6 if len(units) == 1 else 5
        inside = [
            (min(row.box_y1, 32) - max(row.box_y0, 0)) * (min(row.box_x1, 32) - max(row.box_x0, 0))
            for row in tops[tops["unit"].isin(units)].itertuples()
        ]
        assert len(inside) == count
        assert patches == sum(inside) * scale * scale


def test_run_occlusion_draws_the_image_as_the_network_saw_it(tmp_path: Path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(made_up_run.png(COLOURS[0], made_up_run.FRAME_PX))
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    made_up_run.occlude(url, [3, 12], names=lambda _: (str(photo), "thing"))
    out = tmp_path / "new" / "occlusion.png"
    size = _occlusion(url, 12, str(out))
    with Image.open(out) as picture:
        assert picture.size == size
        seen = (np.asarray(picture) == COLOURS[0]).all(axis=2)
    assert seen.sum() > 200 * 200


def test_run_occlusion_of_another_image_or_run_is_refused(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    out = tmp_path / "x.png"
    with pytest.raises(NotPublishedError, match="unitscope occlude"):
        _occlusion(url, 12, str(out))
    made_up_run.occlude(url, list(range(3, 30)))
    with pytest.raises(SpecError, match=r"--occlusion 2: .* choices: 3, 4.* 14 \.\.\.$"):
        _occlusion(url, 2, str(out))
    assert not out.exists()


def test_run_figures_of_the_paper_are_written_as_png_and_pdf(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    with pytest.raises(NotPublishedError, match="unitscope occlude"):
        draw(url, "occlude", None, str(tmp_path / "figure7.png"))
    made_up_run.occlude(url, list(range(3, 30)))

    width, height = draw(url, "occlude", None, str(tmp_path / "figure7.png"))
    one = _occlusion(url, 3, str(tmp_path / "one.png"))
    assert (width, height) == (one[0], 3 * one[1])
    with Image.open(tmp_path / "figure7.png") as picture:
        assert picture.size == (width, height)

    assert draw(url, "occlude", None, str(tmp_path / "figure7.pdf")) == (width, height)
    data = (tmp_path / "figure7.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    # 144 pixels per inch are two per point.
    assert f"/MediaBox [ 0 0 {width / 2} {height / 2} ]".encode() in data
