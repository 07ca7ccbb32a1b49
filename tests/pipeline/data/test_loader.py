"""Batches are arithmetic on the shard; rejects, threads, timing and hints change nothing."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.data import loader as module
from pipeline.data.decode import decode
from pipeline.data.image_rows import list_rows, number_rows
from pipeline.data.loader import BATCHES_AHEAD, Batch, ImageLoader
from pipeline.data.preprocess import to_frame
from schemas.errors import DatasetError, StoreUnavailableError
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, PreprocessSpec

SPEC = PreprocessSpec(resize_px=12, crop_px=8)
COUNT = 22
BAD = {3: "missing", 9: "truncated", 10: "not_an_image"}


@pytest.fixture
def images(tmp_path: Path) -> pa.Table:
    """22 pictures of different sizes, of which three cannot be used."""
    random = np.random.default_rng(0)
    uris = []
    for number in range(COUNT):
        pixels = random.integers(0, 256, (10 + number, 40 - number, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        data = stream.getvalue()
        path = tmp_path / f"{number:02d}.png"
        match BAD.get(number):
            case "truncated":
                path.write_bytes(data[: len(data) // 2])
            case "not_an_image":
                path.write_bytes(b"<html>")
            case None:
                path.write_bytes(data)
        uris.append(str(path))
    return number_rows(list_rows(uris))


def make(
    images: pa.Table, threads: int = 2, batch_size: int = 4, *, keep_pictures: bool = False
) -> ImageLoader:
    return ImageLoader(
        lambda start, stop: images.slice(start, stop - start),
        preprocess=SPEC,
        data=DatasetSpec(uri="unused"),
        batch_size=batch_size,
        threads=threads,
        keep_pictures=keep_pictures,
    )


def same(one: list[Batch], other: list[Batch]) -> bool:
    names = ("frames", "valid", "image_ids", "heights", "widths")
    return len(one) == len(other) and all(
        a.rejects == b.rejects
        and a.rows.equals(b.rows)
        and all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)
        for a, b in zip(one, other, strict=True)
    )


SHARD = Shard(index=1, start=2, stop=13, excluded=(5, 20))


def test_batches_of_a_shard_hold_each_image_at_its_place(images: pa.Table):
    with make(images) as loader:
        batches = list(loader.batches(SHARD))

    assert [batch.image_ids.tolist() for batch in batches] == [
        [2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12, -1],
    ]  # fmt: skip
    assert [batch.valid.tolist() for batch in batches] == [
        [True, False, True, False], [True, True, True, False], [False, True, True, False],
    ]  # fmt: skip
    for batch in batches:
        assert batch.frames.shape == (4, 3, 8, 8)
        assert batch.frames.is_contiguous()
        assert batch.rows["image_id"].to_pylist() == [i for i in batch.image_ids.tolist() if i >= 0]
        for place, image_id in enumerate(batch.image_ids.tolist()):
            size = (int(batch.heights[place]), int(batch.widths[place]))
            if not batch.valid[place]:
                assert not batch.frames[place].any()
                assert size == (0, 0)
                continue
            data = Path(images["uri"][image_id].as_py()).read_bytes()
            expected = to_frame(decode(data, max_pixels=10_000), SPEC)
            assert torch.equal(batch.frames[place], expected)
            assert size == (10 + image_id, 40 - image_id)


def test_batches_name_the_rejects_with_reason(images: pa.Table):
    with make(images) as loader:
        rejects = [reject for batch in loader.batches(SHARD) for reject in batch.rejects]

    expected = {3: "missing", 5: "kills_worker", 9: "truncated", 10: "not_an_image"}
    assert {reject.image_id: reject.reason for reject in rejects} == expected
    assert [reject.image_id for reject in rejects] == sorted(expected)
    for image_id, uri, _, detail in rejects:
        assert uri == images["uri"][image_id].as_py()
        assert detail


def test_batches_never_touch_an_excluded_image(images: pa.Table, monkeypatch: pytest.MonkeyPatch):
    touched = []
    real = module.read_bytes
    monkeypatch.setattr(
        module,
        "read_bytes",
        lambda row, parquet: touched.append(row.image_id) or real(row, parquet),
    )

    with make(images) as loader:
        list(loader.batches(SHARD))

    assert sorted(touched) == [i for i in range(2, 13) if i != 5]


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_batches_do_not_depend_on_threads_or_timing(
    images: pa.Table, monkeypatch: pytest.MonkeyPatch, threads: int
):
    with make(images, threads=1) as loader:
        expected = list(loader.batches(SHARD))
    real, random = module.read_bytes, np.random.default_rng(threads)

    def late(*arguments: object) -> bytes:
        time.sleep(random.uniform(0, 0.003))
        return real(*arguments)

    monkeypatch.setattr(module, "read_bytes", late)

    with make(images, threads=threads) as loader:
        assert same(list(loader.batches(SHARD)), expected)


def test_batches_read_ahead_no_further_than_promised(
    images: pa.Table, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def rows(start: int, stop: int) -> pa.Table:
        asked.append(start)
        return images.slice(start, stop - start)

    loader = make(images, batch_size=2)
    monkeypatch.setattr(loader, "_rows", rows)
    with loader:
        whole = Shard(index=0, start=0, stop=COUNT)
        for place, _ in enumerate(loader.batches(whole, Shard(index=1, start=0, stop=6))):
            assert len(asked) <= place + 1 + BATCHES_AHEAD

    assert asked == [*range(0, COUNT, 2), 0, 2]


def test_batches_of_the_upcoming_shard_are_decoded_once_and_equal(
    images: pa.Table, monkeypatch: pytest.MonkeyPatch
):
    first, second = Shard(index=0, start=0, stop=7), Shard(index=1, start=7, stop=COUNT)
    with make(images) as loader:
        expected = list(loader.batches(second))
    touched = []
    real = module.read_bytes
    monkeypatch.setattr(
        module,
        "read_bytes",
        lambda row, parquet: touched.append(row.image_id) or real(row, parquet),
    )

    with make(images) as loader:
        list(loader.batches(first, upcoming=second))
        found = list(loader.batches(second))

    assert same(found, expected)
    assert sorted(touched) == list(range(COUNT))


def test_batches_of_the_upcoming_shard_begin_before_they_are_asked_for(
    images: pa.Table, monkeypatch: pytest.MonkeyPatch
):
    second, begun = Shard(index=1, start=8, stop=16), threading.Event()
    real = module.read_bytes

    def watched(row: module.ImageRow, parquet: object) -> bytes:
        if row.image_id >= second.start:
            begun.set()
        return real(row, parquet)

    monkeypatch.setattr(module, "read_bytes", watched)

    with make(images) as loader:
        list(loader.batches(Shard(index=0, start=0, stop=8), upcoming=second))
        assert begun.wait(120)


def test_batches_of_another_shard_than_the_hint_are_right(images: pa.Table):
    other = Shard(index=2, start=16, stop=COUNT)
    with make(images) as loader:
        expected = list(loader.batches(other))
        list(loader.batches(Shard(index=0, start=0, stop=4), Shard(index=1, start=4, stop=16)))
        assert same(list(loader.batches(other)), expected)
        hint = Shard(index=1, start=2, stop=13)
        list(loader.batches(Shard(index=0, start=0, stop=2), upcoming=hint))
        rejects = [r.reason for batch in loader.batches(SHARD) for r in batch.rejects]
        assert "kills_worker" in rejects


def test_batches_left_early_leave_the_loader_usable(images: pa.Table):
    with make(images) as loader:
        expected = list(loader.batches(SHARD))
        for _ in loader.batches(SHARD, upcoming=Shard(index=2, start=13, stop=20)):
            break
        assert same(list(loader.batches(SHARD)), expected)


def test_batches_when_the_store_fails_raise_it(images: pa.Table, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> bytes:
        raise StoreUnavailableError("no answer for 60 s")

    monkeypatch.setattr(module, "read_bytes", fail)

    with make(images) as loader, pytest.raises(StoreUnavailableError):
        next(loader.batches(SHARD))


def test_batches_beyond_the_image_list_are_refused(images: pa.Table):
    with make(images) as loader, pytest.raises(DatasetError, match="has not the rows 20 to 23"):
        list(loader.batches(Shard(index=0, start=16, stop=24)))


def test_close_ends_the_threads(images: pa.Table):
    before = set(threading.enumerate())
    loader = make(images, threads=5)
    next(loader.batches(SHARD))
    its_own = set(threading.enumerate()) - before

    loader.close()

    # A pool begins no thread while another one of it is idle.
    assert 1 <= len(its_own) <= 5
    assert not any(thread.is_alive() for thread in its_own)
    with pytest.raises(RuntimeError):
        next(loader.batches(SHARD))


def test_batches_hold_the_decoded_pictures_only_where_they_are_kept(images: pa.Table):
    with make(images) as loader, make(images, keep_pictures=True) as keeping:
        plain, kept = list(loader.batches(SHARD)), list(keeping.batches(SHARD))

    assert same(plain, kept)
    assert {batch.pictures for batch in plain} == {()}
    for batch in kept:
        assert len(batch.pictures) == batch.rows.num_rows
        for slot, picture in enumerate(batch.pictures):
            size = (int(batch.heights[slot]), int(batch.widths[slot]))
            assert picture.shape == (3, *size)
            if batch.valid[slot]:
                assert torch.equal(to_frame(picture, SPEC), batch.frames[slot])
