from __future__ import annotations

from pathlib import Path

import pytest

from jobs.spec_yaml import dotted, parse_value, read_mapping
from schemas.errors import SpecError


def _file(folder: Path, text: str) -> str:
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_read_mapping_nested_values_have_their_lines(tmp_path: Path):
    file = _file(tmp_path, "model:\n  arch: vgg16\n\nmean:\n  - 0.5\n  - 0.4\n")
    values, origins = read_mapping(file)
    assert values == {"model": {"arch": "vgg16"}, "mean": [0.5, 0.4]}
    assert origins["model", "arch"] == f"line 2 of {file}"
    assert origins["mean",] == f"line 4 of {file}"
    assert origins["mean", 1] == f"line 6 of {file}"


def test_read_mapping_empty_file_is_an_empty_mapping(tmp_path: Path):
    assert read_mapping(_file(tmp_path, "# nothing\n")) == ({}, {})


def test_read_mapping_date_and_anchor_are_kept_as_meant(tmp_path: Path):
    values, _ = read_mapping(
        _file(tmp_path, "out: 2026-11-24\na: &base {x: 1}\nb:\n  <<: *base\n  y: 2\n")
    )
    assert values == {"out": "2026-11-24", "a": {"x": 1}, "b": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", ["b.c", "twice", "lines 3 and 5", "keep one"]),
        ("- a\n- b\n", ["list", "mapping of fields", "line 1"]),
        ("just words\n", ["single value", "mapping of fields"]),
        ("a: 1\nb: [1,\n", ["not YAML", "line 3"]),
        ("a: b: c\n", ["not YAML", "line 1, column 5"]),
        ("a: 1\n---\nb: 2\n", ["line 2", "another document"]),
        ("a: &x\n  b: *x\n", ["a.b", "contains itself"]),
        ("1: 2\n", ["'1'", "no field name", "line 1"]),
        ("a: !!python/object/apply:os.system [ls]\n", ["not YAML", "line 1", "python/object"]),
        ("a: \x07\n", ["not YAML"]),
    ],
)
def test_read_mapping_faulty_text_is_refused_with_its_place(
    tmp_path: Path, text: str, words: list[str]
):
    file = _file(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        read_mapping(file)
    message = str(caught.value)
    assert "\n" not in message
    for word in [*words, file]:
        assert word in message


def test_read_mapping_missing_folder_and_binary_file_are_refused(tmp_path: Path):
    binary = tmp_path / "weights.bin"
    binary.write_bytes(b"\xff\xfe\x80")
    for path, word in ((tmp_path / "no.yaml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(SpecError, match=word):
            read_mapping(str(path))
    with pytest.raises(SpecError, match="not UTF-8"):
        read_mapping(str(binary))


def test_parse_value_gives_yaml_types_and_refuses_what_is_none():
    assert parse_value("[a, 2, 1.5, null]", "--set x") == ["a", 2, 1.5, None]
    assert parse_value("features.*", "--set x") == "features.*"
    with pytest.raises(SpecError, match=r"^--set x=\*: not YAML.*quotes$"):
        parse_value("*", "--set x=*")


def test_dotted_list_places_stand_in_brackets():
    assert dotted(("preprocess", "mean", 0)) == "preprocess.mean[0]"
    assert dotted(()) == ""
