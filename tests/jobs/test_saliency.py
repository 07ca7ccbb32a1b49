"""Saliency maps of a scan's images: the definitions, what repeats, and what is refused."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop
from PIL import Image
from torch import Tensor

import tests.tiny_nets as nets
from jobs import engine
from pipeline.analysis.saliency import noise_generator
from pipeline.store import open_run
from schemas.errors import DatasetError, LayerError, PlanMismatchError, SpecError
from schemas.jobs.saliency import SaliencySpec
from schemas.jobs.scan import ScanSpec
from tests import saliency_reference as reference
from tests.reference import raw_picture

MakeSpec = Callable[..., ScanSpec]
Digests = Callable[[str | Path], dict[str, str]]
ALL = [
    "deconvnet", "gradient", "gradient_x_input", "guided", "integrated", "positive", "smoothgrad",
]  # fmt: skip
SAMPLES, STEPS, PERCENT = 4, 6, 20.0
MEAN, STD = (
    torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
    for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


@pytest.fixture(scope="module")
def scanned(spec_at: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published scan."""
    home = tmp_path_factory.mktemp("scanned")
    engine.run(spec_at(home / "run", data={"max_reject_fraction": 0.1}))
    return home / "run"


@pytest.fixture
def run(scanned: Path, tmp_path: Path) -> Path:
    """The scan alone, in a folder of the test's own."""
    shutil.copytree(scanned / "scan", tmp_path / "run" / "scan")
    return tmp_path / "run"


def _spec(run: Path, **changes: object) -> SaliencySpec:
    fields = {
        "run": str(run),
        "images": {"ids": [3, 25]},
        "methods": ALL,
        "samples": SAMPLES,
        "steps": STEPS,
        "noise_percent": PERCENT,
        "resources": {"local": True, "threads": 1},
    }
    return SaliencySpec.model_validate(fields | changes)


def _rows(run: Path) -> pd.DataFrame:
    return open_run(str(run)).table("attributions", job="saliency")


def _wanted(picture: Tensor, image_id: int, target: int) -> dict[str, Tensor]:
    """Every map, from the definitions; ``picture`` has values from 0 to 1."""
    net = nets.small().double().eval()
    image, spread = (picture - MEAN) / STD, picture.max() - picture.min()
    own, noises = noise_generator(0, image_id), []
    for _ in range(SAMPLES):
        unit = torch.randn(image.shape, generator=own).double()
        noises.append(unit * (PERCENT / 100 * spread) / STD)  # of pixels, then of the input
    grad = reference.gradient(net, image, target)
    smooth = reference.smooth_gradient(net, image, target, noises)
    whole = reference.integrated(net, image, torch.zeros_like(image), target, STEPS)
    maps = {
        "gradient": reference.strongest_colour(grad / STD),
        "positive": reference.strongest_colour(grad / STD, positive=True),
        "smoothgrad": reference.strongest_colour(smooth / STD),
        "gradient_x_input": (grad * image).sum(dim=0),
        "integrated": whole.sum(dim=0),
    }
    for layer in (net.relu1, net.relu2):
        layer.inplace = False
    for name, method in (("guided", GuidedBackprop), ("deconvnet", Deconvolution)):
        leaf = image[None].clone().requires_grad_()
        maps[name] = method(net).attribute(leaf, target=target)[0].detach() / STD
    return maps


def _values(row: pd.Series) -> np.ndarray:
    """A stored map, from its picture and its scale."""
    pixels = np.asarray(Image.open(io.BytesIO(row.saliency["bytes"]))).astype(float)
    pixels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
    return (pixels - row.zero) / (255 - row.zero) * row.scale


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_saliency_equals_the_definitions(run: Path):
    manifest = engine.run(_spec(run))

    rows = _rows(run)
    assert manifest.counts["maps"] == len(rows) == 2 * len(ALL)
    assert rows[["image_id", "method"]].values.tolist() == [
        [image_id, method] for image_id in (3, 25) for method in ALL
    ]
    net = nets.small().double().eval()
    for image_id, group in rows.groupby("image_id"):
        first = group.iloc[0]
        picture = raw_picture(Path(first.uri))[0]
        with torch.no_grad():
            scores = net((picture[None] - MEAN) / STD)[0]
            blank = net(torch.zeros(1, 3, 24, 24).double())[0]
        target = int(image_id > 20)
        assert group["target"].unique().tolist() == [target]
        assert first.score == pytest.approx(float(scores[target]), rel=1e-5)
        assert first.p_target == pytest.approx(float(scores.softmax(0)[target]), rel=1e-5)
        assert first.predicted == int(scores.argmax())
        wanted = _wanted(picture, int(image_id), target)
        for row in group.itertuples():
            exact = wanted[row.method].numpy()
            grey_level = row.scale / (255 - row.zero)
            assert row.scale == pytest.approx(np.abs(exact).max(), rel=1e-5), row.method
            assert np.abs(_values(row) - exact).max() <= 0.501 * grey_level, row.method
        left = float(wanted["integrated"].sum() - (scores - blank)[target])
        found = group.set_index("method")["completeness_error"]
        assert found["integrated"] == pytest.approx(left, abs=1e-6)
        assert found.drop("integrated").isna().all()


def test_saliency_of_an_image_is_the_same_beside_others_and_leaves_the_pictures(
    run: Path, tmp_path: Path, pictures: Path, digests: Digests
):
    before = digests(pictures)
    shutil.copytree(run, tmp_path / "other")
    engine.run(_spec(run, images={"ids": [25]}))
    engine.run(_spec(tmp_path / "other", images={"ids": list(range(12, 30))}))

    other = _rows(tmp_path / "other")
    beside = other[other["image_id"] == 25].reset_index(drop=True)
    pd.testing.assert_frame_equal(_rows(run), beside)
    assert digests(pictures) == before


@pytest.fixture
def mortal(spec_at: MakeSpec, tmp_path: Path) -> tuple[Path, Path]:
    """Two equal runs of a network whose file can make it kill its process; see `tiny_nets`."""
    shutil.copy(nets.__file__, tmp_path / "nets.py")
    data = {"max_reject_fraction": 0.1}
    engine.run(spec_at(tmp_path / "a", net="mortal", nets_file=tmp_path / "nets.py", data=data))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


MANY = {"images": {"ids": [*range(8), *range(9, 20)]}, "methods": ["gradient", "smoothgrad"]}


def test_saliency_killed_and_resumed_gives_the_same_tables(
    mortal: tuple[Path, Path], tmp_path: Path, digests: Digests
):
    engine.run(_spec(mortal[0], **MANY))
    spec = _spec(mortal[1], **MANY)
    (tmp_path / nets.CRASH).write_text(f"{mortal[1] / 'saliency' / '_work' / 'done'}\n1")
    code = (
        "import sys; from jobs import engine; from schemas.jobs.saliency import SaliencySpec;"
        "engine.run(SaliencySpec.model_validate_json(sys.argv[1]))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, spec.model_dump_json()],
        env=os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[1])},
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL
    assert len(list((mortal[1] / "saliency" / "_work" / "done").glob("*.json"))) == 1
    engine.run(spec)
    tables = Path("saliency") / "attributions"
    assert digests(mortal[0] / tables) == digests(mortal[1] / tables)


@pytest.mark.ray
def test_saliency_on_ray_with_a_worker_killed_gives_the_same_tables(
    mortal: tuple[Path, Path], tmp_path: Path, digests: Digests
):
    pytest.importorskip("ray", reason="needs ray")
    engine.run(_spec(mortal[0], **MANY))
    order = tmp_path / nets.CRASH
    order.write_text(f"{mortal[1] / 'saliency' / '_work' / 'done'}\n1")

    manifest = engine.run(_spec(mortal[1], **MANY, resources={"workers": 2, "threads": 1}))

    assert not order.exists()
    assert manifest.counts["retries"] == 1
    tables = Path("saliency") / "attributions"
    assert digests(mortal[0] / tables) == digests(mortal[1] / tables)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"target": 5}, SpecError, "target: 5 is no class of the network; choices: 0 to 4"),
        ({"images": {"ids": [99]}}, DatasetError, "no image 99"),
    ],
)
def test_saliency_that_cannot_be_done_begins_nothing(
    run: Path, given: dict[str, object], error: type[Exception], says: str
):
    with pytest.raises(error, match=says):
        engine.run(_spec(run, **given))
    assert not (run / "saliency").exists()


def test_saliency_rule_that_the_network_does_not_allow_begins_nothing(
    spec_at: MakeSpec, tmp_path: Path
):
    run = tmp_path / "run"
    layers, data = {"exclude": ["dark"]}, {"max_reject_fraction": 0.1}
    engine.run(spec_at(run, net="forked", data=data, layers=layers))
    with pytest.raises(LayerError, match="'guided' needs a network that can be traced"):
        engine.run(_spec(run, methods=["guided"]))
    assert not (run / "saliency").exists()
    manifest = engine.run(_spec(run, methods=["gradient", "smoothgrad"]))
    assert manifest.counts["maps"] == 4


def test_saliency_with_another_noise_is_another_plan(run: Path):
    engine.run(_spec(run, methods=["smoothgrad", "gradient"]))
    engine.run(_spec(run, methods=["gradient", "smoothgrad"]))
    with pytest.raises(PlanMismatchError, match="seed"):
        engine.run(_spec(run, methods=["smoothgrad", "gradient"], seed=1))
