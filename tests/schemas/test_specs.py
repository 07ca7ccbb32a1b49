"""Specs are frozen and closed, survive JSON and YAML, and take no secrets."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from schemas.specs import DatasetSpec, LayerSelection, ModelSpec, PreprocessSpec, Resources, Spec

FULL = [
    ModelSpec(arch="zfnet", weights="random", seed=3, num_classes=10, trust_code=True),
    PreprocessSpec(
        resize_px=None,
        crop_px=32,
        interpolation="nearest",
        value_range=255.0,
        mean=(125.3, 123.0, 113.9),
        std=(64.0, 64.0, 64.0),
    ),
    DatasetSpec(uri="s3://bucket/photos", limit=7, max_pixels=10, max_reject_fraction=0.5),
    LayerSelection(include=("features.*", "classifier.6"), exclude=("features.0",)),
    Resources(device="cuda", threads=2, workers=3, decode_threads=1, ray_address="ray://head:1"),
]
BARE = [
    ModelSpec(arch="zfnet"),
    PreprocessSpec(),
    DatasetSpec(uri="photos"),
    LayerSelection(),
    Resources(),
]
EVERY = pytest.mark.parametrize("spec", [*FULL, *BARE], ids=lambda spec: type(spec).__name__)


@EVERY
def test_spec_through_json_comes_back_equal(spec: Spec):
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


@EVERY
def test_spec_through_yaml_comes_back_equal(spec: Spec):
    text = yaml.safe_dump(spec.model_dump(mode="json"))

    assert type(spec).model_validate(yaml.safe_load(text)) == spec


@EVERY
def test_spec_with_an_unknown_field_is_refused(spec: Spec):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        type(spec).model_validate({**spec.model_dump(), "colour": "red"})


@EVERY
def test_spec_when_mutated_refuses(spec: Spec):
    for name in type(spec).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(spec, name, None)


@EVERY
def test_spec_is_hashable_by_its_values(spec: Spec):
    assert hash(spec) == hash(type(spec).model_validate(spec.model_dump()))


def test_full_specs_fill_every_field():
    """So that the round trips above meet every field with another value than its default."""
    for full, bare in zip(FULL, BARE, strict=True):
        left = {
            name
            for name in type(full).model_fields
            if getattr(full, name) == getattr(bare, name) and name not in ("arch", "local")
        }
        assert left == set()


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/photos",
        "S3://KEY@bucket",
        "https://user:pass@host/weights.pth",
        "https://user:p@ss@host/weights.pth",
        "simplecache::s3://key:secret@bucket/photos",
        "gs+x.y-z://key:secret@bucket",
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda url: DatasetSpec(uri=url),
        lambda url: ModelSpec(arch="a", weights=url),
        lambda url: Resources(ray_address=url),
    ],
)
def test_location_with_credentials_is_refused(make: type, url: str):
    with pytest.raises(ValidationError, match="credentials"):
        make(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/album@home/photos",
        "photos@home",
        "/data/a:b@c",
        "https://host/file@v2.pth",
        "https://host/a?at=b@c",
        "simplecache::s3://bucket/a@b",
    ],
)
def test_location_with_an_at_sign_elsewhere_is_taken(url: str):
    assert DatasetSpec(uri=url).uri == url


def test_location_of_no_characters_is_refused():
    with pytest.raises(ValidationError, match="at least 1 character"):
        DatasetSpec(uri="")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (ModelSpec, "arch", ""),
        (ModelSpec, "seed", -1),
        (ModelSpec, "num_classes", 0),
        (PreprocessSpec, "crop_px", 0),
        (PreprocessSpec, "resize_px", -1),
        (PreprocessSpec, "value_range", 0),
        (PreprocessSpec, "interpolation", "lanczos"),
        (PreprocessSpec, "mean", (0.5, 0.5)),
        (DatasetSpec, "limit", 0),
        (DatasetSpec, "max_pixels", 0),
        (DatasetSpec, "max_reject_fraction", 1.01),
        (DatasetSpec, "max_reject_fraction", -0.01),
        (Resources, "device", "mps"),
        (Resources, "threads", 0),
        (Resources, "workers", 0),
        (Resources, "decode_threads", 0),
    ],
)
def test_value_outside_its_range_is_refused_by_name(kind: type[Spec], field: str, value: object):
    good = {ModelSpec: {"arch": "a"}, DatasetSpec: {"uri": "a"}}.get(kind, {})

    with pytest.raises(ValidationError) as raised:
        kind.model_validate({**good, field: value})

    assert raised.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_reject_fraction_at_its_ends_is_taken(fraction: float):
    assert DatasetSpec(uri="a", max_reject_fraction=fraction).max_reject_fraction == fraction


def test_resources_local_with_an_address_are_refused():
    with pytest.raises(ValidationError, match="local and ray_address exclude each other"):
        Resources(local=True, ray_address="ray://head:1")


def test_resources_local_with_two_workers_are_refused():
    assert Resources(local=True, workers=1).workers == 1
    with pytest.raises(ValidationError, match="workers says 2"):
        Resources(local=True, workers=2)
