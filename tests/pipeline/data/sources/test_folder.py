"""A folder's pictures are listed by name, and its sub-folders label them."""

from __future__ import annotations

from pipeline.data.sources.folder import folder_rows


def test_folder_rows_of_a_name_that_is_not_utf8_has_no_place_to_read():
    rows = folder_rows("/r", ["caf\udce9/a.jpg", "caf\\xe9/a.jpg", "café/a.jpg"]).to_pydict()

    assert rows["uri"] == ["/r/caf\\xe9/a.jpg", "/r/caf\\xe9/a.jpg", "/r/café/a.jpg"]
    assert rows["container"] == ["/r", None, None]
    assert rows["offset"] == [None] * 3


def test_folder_rows_label_by_the_first_folder_in_code_point_order():
    names = ["Zebra/a.jpg", "ape/x/b.jpg", "loose.jpg", "äpe/c.jpg"]

    rows = folder_rows("/r", names).to_pydict()

    assert rows["uri"] == [f"/r/{name}" for name in names]
    assert rows["class_name"] == ["Zebra", "ape", None, "äpe"]
    assert rows["label"] == [0, 1, None, 2]


def test_folder_rows_of_a_flat_folder_have_no_label():
    rows = folder_rows("/r", ["a.jpg", "b.jpg"])

    assert rows["label"].null_count == rows["class_name"].null_count == 2
