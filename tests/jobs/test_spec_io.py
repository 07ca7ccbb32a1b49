from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.spec_io import NULL, dump_spec, load_spec
from schemas.errors import SpecError
from schemas.jobs.scan import ScanSpec
from schemas.specs import DatasetSpec, LayerSelection, ModelSpec, PreprocessSpec, Resources

FLAGS: dict[str, object] = {"model.arch": "vgg16", "data.uri": "photos", "out": "runs/a"}
NAMES = {"model.arch": "--arch", "data.uri": "--data", "out": "--out", "batch_size": "--batch-size"}


def _yaml(folder: Path, text: str) -> str:
    path = folder / "scan.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _refusal(**arguments: object) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(ScanSpec, flag_names=NAMES, **arguments)  # type: ignore[arg-type]
    return str(caught.value)


def test_load_spec_yaml_flags_and_sets_the_last_wins(tmp_path: Path):
    file = _yaml(
        tmp_path,
        "model: {arch: alexnet, seed: 5}\ndata: {uri: d}\nout: o\ntop: 1\nbatch_size: 2\n"
        "precision: bf16\n",
    )
    spec = load_spec(
        ScanSpec,
        yaml_path=file,
        flags={"top": "3", "batch_size": "4", "model.arch": "vgg16", "precision": None},
        sets=["batch_size=8", "batch_size=16"],
    )
    assert (spec.model.arch, spec.model.seed) == ("vgg16", 5)
    assert (spec.top, spec.batch_size, spec.precision) == (3, 16, "bf16")


def test_load_spec_optional_part_is_opened_by_a_field_inside_and_closed_by_null(tmp_path: Path):
    file = _yaml(tmp_path, "preprocess: null\nresources: {workers: 4}\n")
    spec = load_spec(
        ScanSpec,
        yaml_path=file,
        flags=FLAGS | {"resources.workers": NULL},
        sets=["preprocess.crop_px=96", "layers.include=[features.*, classifier]"],
    )
    assert spec.preprocess == PreprocessSpec(crop_px=96)
    assert spec.resources.workers is None
    assert spec.layers.include == ("features.*", "classifier")
    assert load_spec(ScanSpec, flags=FLAGS, sets=["preprocess=null"]).preprocess is None


def test_load_spec_nothing_given_names_what_is_missing_and_its_flags():
    lines = _refusal().splitlines()
    assert lines[0] == "3 problems:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["model.arch", "data.uri", "out"]
    assert all(
        flag in line for flag, line in zip(("--arch", "--data", "--out"), lines[1:], strict=True)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "model:\n  arch: a\n  weigths: w",
            ["model.weigths", "line 3", "no such field", "weights"],
        ),
        ("precision: fp23", ["precision", "line 1", "'fp23'", "fp32, tf32, bf16", "nearest"]),
        ("\ntop: 900", ["top", "line 2", "900", "100"]),
        ("layers: [a]", ["layers", "line 1", "mapping", "include", "exclude"]),
        ("preprocess:\n  mean: 3", ["preprocess.mean", "line 2", "list", "got 3"]),
        ("preprocess:\n  mean:\n  - 1\n  - x\n  - 2", ["preprocess.mean[1]", "line 4", "'x'"]),
        ("batch_size: 7\nshard_size: 22", ["shard_size 22", "batch_size 7"]),
        ("resources:\n  local: true\n  workers: 3", ["resources", "line 1", "workers says 3"]),
    ],
)
def test_load_spec_wrong_yaml_field_says_field_line_value_and_choices(
    tmp_path: Path, text: str, words: list[str]
):
    file = _yaml(tmp_path, text)
    message = _refusal(yaml_path=file, flags={k: v for k, v in FLAGS.items() if k[:5] not in text})
    assert "\n" not in message
    for word in words:
        assert word in message
    if any(word.startswith("line") for word in words):
        assert file in message


def test_load_spec_wrong_flag_and_set_are_named_each_on_its_line():
    message = _refusal(
        flags=FLAGS | {"batch_size": "many"}, sets=["data.limt=3", "resources.device=gpu"]
    )
    lines = {line.split(":")[0].strip(): line for line in message.splitlines()[1:]}
    assert set(lines) == {"batch_size", "data.limt", "resources.device"}
    assert "'many' (--batch-size)" in lines["batch_size"]
    assert "(--set data.limt=3); nearest: limit" in lines["data.limt"]
    assert "cpu, cuda" in lines["resources.device"]


@pytest.mark.parametrize("text", ["top", "=3", "a..b=3", ".a=3"])
def test_load_spec_malformed_set_is_refused_as_typed(text: str):
    assert f"--set {text}: is not of the form" in _refusal(flags=FLAGS, sets=[text])


def test_load_spec_field_inside_a_plain_value_is_refused(tmp_path: Path):
    file = _yaml(tmp_path, "model: 3\n")
    message = _refusal(yaml_path=file, sets=["model.arch=vgg16"])
    assert "model is 3" in message
    assert "line 1" in message
    assert "--set model.arch=vgg16" in message


@pytest.mark.parametrize("where", ["yaml", "flag", "set"])
def test_load_spec_credentials_in_a_url_never_appear(tmp_path: Path, where: str):
    url = "s3://key:opensesame@bucket/run"
    arguments: dict[str, object] = {"flags": FLAGS}
    if where == "yaml":
        arguments = {
            "yaml_path": _yaml(tmp_path, f"out: {url}\n"),
            "flags": {**FLAGS, "out": None},
        }
    elif where == "flag":
        arguments = {"flags": FLAGS | {"out": url}}
    else:
        arguments["sets"] = [f"out={url}"]
    message = _refusal(**arguments)
    assert "out: holds credentials" in message
    assert "opensesame" not in message
    assert "key:" not in message


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=60)
@given(arch=_TEXT, globs=st.lists(_TEXT, max_size=3), crop=st.none() | st.integers(1, 999))
def test_dump_spec_any_text_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, arch: str, globs: list[str], crop: int | None
):
    spec = ScanSpec(
        model=ModelSpec(arch=arch, weights="w.pth", trust_code=True),
        data=DatasetSpec(uri="photos", limit=7, max_reject_fraction=1e-7),
        out="runs/a",
        preprocess=None if crop is None else PreprocessSpec(resize_px=None, crop_px=crop),
        layers=LayerSelection(include=tuple(globs)),
        resources=Resources(ray_address="ray://h:1"),
    )
    file = tmp_path_factory.mktemp("dump") / "scan.yaml"
    file.write_text(dump_spec(spec), encoding="utf-8", newline="")
    assert load_spec(ScanSpec, yaml_path=str(file)) == spec


def test_dump_spec_descriptions_stand_above_their_fields():
    lines = dump_spec(load_spec(ScanSpec, flags=FLAGS)).splitlines()
    assert lines[lines.index("top: 9") - 1] == "# top patches kept per unit (k)"
    assert lines[lines.index("  limit: null") - 1] == "  # only the first N images; null: all"
    assert max(map(len, lines)) <= 100
