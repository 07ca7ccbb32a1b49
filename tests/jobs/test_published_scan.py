from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import tests.tiny_nets as nets
from jobs import engine
from jobs.published_scan import PublishedScan, open_published_scan
from schemas.errors import DatasetError, ModelError, NotPublishedError
from schemas.jobs.scan import ScanSpec


@pytest.fixture
def own(spec_at: Callable[..., ScanSpec], pictures: Path, tmp_path: Path) -> PublishedScan:
    """A scan with its own copies of the pictures and of the network's file."""
    shutil.copytree(pictures, tmp_path / "pictures")
    shutil.copy(nets.__file__, tmp_path / "nets.py")
    data = {"uri": str(tmp_path / "pictures"), "max_reject_fraction": 0.1}
    engine.run(spec_at(tmp_path / "run", nets_file=tmp_path / "nets.py", data=data))
    return open_published_scan(str(tmp_path / "run"))


def test_published_scan_gives_back_what_the_scan_used(own: PublishedScan):
    assert own.source.preprocess.crop_px == 24
    assert own.spec.top == 4
    assert [layer.name for layer in own.network().layers if layer.default] == [
        "relu1", "relu2", "fc",
    ]  # fmt: skip
    assert own.images({7, 3})["image_id"].to_pylist() == [3, 7]


def test_published_scan_of_other_weights_is_refused(own: PublishedScan, tmp_path: Path):
    file = tmp_path / "nets.py"
    file.write_text(file.read_text().replace("torch.manual_seed(7)", "torch.manual_seed(80)"))

    with pytest.raises(ModelError, match="give back those weights, or scan into"):
        own.network()


def test_published_scan_of_another_image_list_is_refused(own: PublishedScan, tmp_path: Path):
    Image.new("RGB", (24, 24)).save(tmp_path / "pictures" / "ants" / "zzz.png")

    with pytest.raises(DatasetError, match=r"lists 42 images .* the 41 that were scanned"):
        own.images({0})


def test_open_published_scan_of_a_run_without_a_scan_is_refused(tmp_path: Path):
    with pytest.raises(NotPublishedError, match="job scan has published nothing"):
        open_published_scan(str(tmp_path))
