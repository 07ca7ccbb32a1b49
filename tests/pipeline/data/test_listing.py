"""Every kind of data set is recognised by looking, and what is ambiguous is refused."""

from __future__ import annotations

import io
import logging
import re
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.image_rows import list_rows, number_rows
from pipeline.data.listing import dataset_digest, list_images
from pipeline.data.parquet_images import ParquetImages
from pipeline.data.read_image import image_rows, read_bytes
from schemas.errors import DatasetError
from schemas.specs import DatasetSpec
from schemas.tables import IMAGE_LIST


def listed(uri: object, limit: int | None = None) -> pa.Table:
    return list_images(DatasetSpec(uri=str(uri), limit=limit))


def tar_bytes(*names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    return stream.getvalue()


def contents(table: pa.Table) -> list[bytes]:
    reader = ParquetImages()
    return [read_bytes(row, reader) for row in image_rows(table)]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_list_images_of_a_folder_labels_by_sub_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fill(tmp_path / "set", "cat/2.png", "cat/1.JPG", "ant/deep/3.jpeg", "readme.txt", "list.csv")
    monkeypatch.chdir(tmp_path)

    table = listed("set")

    assert table.schema.equals(IMAGE_LIST.schema, check_metadata=True)
    assert table["image_id"].to_pylist() == [0, 1, 2]
    assert table["uri"].to_pylist() == [
        f"{tmp_path}/set/{name}" for name in ("ant/deep/3.jpeg", "cat/1.JPG", "cat/2.png")
    ]
    assert table["class_name"].to_pylist() == ["ant", "cat", "cat"]
    assert table["label"].to_pylist() == [0, 1, 1]


def test_list_images_with_a_limit_keeps_the_labels_of_the_whole(tmp_path: Path):
    fill(tmp_path, "b/1.jpg", "a/1.jpg", "c/1.jpg")

    assert listed(tmp_path, limit=2)["label"].to_pylist() == [0, 1]
    assert listed(tmp_path, limit=99).num_rows == 3
    assert listed(tmp_path, limit=2).to_pylist() == listed(tmp_path).to_pylist()[:2]


def test_list_images_of_manifests_read_both_formats_alike(tmp_path: Path):
    (tmp_path / "list.CSV").write_text("path,class_name\nb.jpg,dog\na.jpg,cat\n")
    pq.write_table(
        pa.table({"path": ["b.jpg", "a.jpg"], "class_name": ["dog", "cat"]}),
        tmp_path / "list.parquet",
    )

    found = listed(tmp_path / "list.CSV")

    assert found["uri"].to_pylist() == [f"{tmp_path}/b.jpg", f"{tmp_path}/a.jpg"]
    assert found["label"].to_pylist() == [1, 0]
    assert found.equals(listed(tmp_path / "list.parquet"))


def test_list_images_of_parquet_bytes_read_back(tmp_path: Path):
    for number in (1, 0):
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(
            pa.table({"image": [b"%d-%d" % (number, row) for row in range(3)]}),
            tmp_path / "data" / f"{number}.parquet",
        )
    expected = [b"0-0", b"0-1", b"0-2", b"1-0", b"1-1", b"1-2"]

    for uri in (tmp_path, tmp_path / "data" / "*.parquet", tmp_path / "data" / "{0..1}.parquet"):
        assert contents(listed(uri)) == expected
    assert contents(listed(tmp_path / "data" / "1.parquet")) == expected[3:]


def test_list_images_of_tar_shards_read_back(tmp_path: Path):
    for number in range(3):
        (tmp_path / f"s-{number:04d}.tar").write_bytes(
            tar_bytes(f"{number}a.jpg", f"{number}b.png", f"{number}b.cls")
        )
    expected = [f"{n}{name}".encode() for n in range(3) for name in ("a.jpg", "b.png")]

    for name in ("", "*.tar", "s-{0000..0002}.tar"):
        assert contents(listed(f"{tmp_path}/{name}")) == expected
    assert contents(listed(tmp_path / "s-0001.tar")) == expected[2:4]
    assert contents(listed(tmp_path, limit=3)) == expected[:3]


def test_list_images_recognises_a_file_by_its_first_bytes(tmp_path: Path):
    (tmp_path / "shard").write_bytes(tar_bytes("a.jpg"))
    pq.write_table(pa.table({"bytes": [b"cell"]}), tmp_path / "table.pq")

    assert contents(listed(tmp_path / "shard")) == [b"a.jpg"]
    assert contents(listed(tmp_path / "table.pq")) == [b"cell"]


def test_list_images_takes_a_name_with_magic_signs_literally(tmp_path: Path):
    fill(tmp_path / "[set] {0..1}", "a.jpg")

    assert contents(listed(tmp_path / "[set] {0..1}")) == [b"a.jpg"]


def test_list_images_of_links_out_of_the_folder_skips_and_logs_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    fill(tmp_path, "set/a.jpg", "other/b.jpg")
    (tmp_path / "set" / "b.jpg").symlink_to(tmp_path / "other" / "b.jpg")

    with caplog.at_level(logging.WARNING):
        table = listed(tmp_path / "set")

    assert table["uri"].to_pylist() == [f"{tmp_path}/set/a.jpg"]
    assert "1 symbolic links that lead out of the folder were skipped" in caplog.text


@pytest.mark.parametrize(
    ("files", "uri", "message"),
    [
        ((), "none", "none: not found"),
        (("set/a.txt", "set/b.heic", "set/c.txt"), "set",
         r"looked for \.bmp, .*\.webp; there is: 2 \.txt, 1 \.heic"),
        (("set/list.csv",), "set", "give .*set/list.csv itself"),
        (("set/a.jpg", "set/b.tar"), "set", "holds pictures and tar shards; keep one kind"),
        (("notes.txt",), "notes.txt", r"neither \.csv, \.parquet nor \.tar"),
        (("a.jpg",), "a.jpg", "give a folder of pictures"),
        (("a.jpg",), "*.jpg", r"matches 1 \.jpg; a glob or braces must match \.tar"),
        (("a.jpg",), "*.tar", "matches nothing"),
        (("a.jpg",), "{0..1}.tar", r"0\.tar: no such tar shard"),
    ],
)  # fmt: skip
def test_list_images_of_what_cannot_be_listed_says_what_is_there(
    tmp_path: Path, files: tuple[str, ...], uri: str, message: str
):
    fill(tmp_path, *files)

    with pytest.raises(DatasetError, match=message):
        listed(tmp_path / uri)


def test_list_images_of_an_unknown_kind_of_url_names_the_way_out():
    with pytest.raises(DatasetError, match="install its fsspec package"):
        listed("nosuch://bucket/a")


def test_list_images_of_empty_lists_is_refused(tmp_path: Path):
    (tmp_path / "list.csv").write_text("path\n")
    (tmp_path / "s.tar").write_bytes(tar_bytes("a.txt"))

    for name in ("list.csv", "s.tar"):
        with pytest.raises(DatasetError, match=rf"{re.escape(name)}: lists no image"):
            listed(tmp_path / name)


def test_list_images_on_s3_of_every_kind_read_back(s3_url: str):
    system = fsspec.filesystem("s3")
    table = io.BytesIO()
    pq.write_table(pa.table({"bytes": [b"cell 0", b"cell 1"]}), table)
    for name, data in {
        "set/b/2.jpg": b"two",
        "set/a/1.jpg": b"one",
        "list.csv": b"path,label\nset/b/2.jpg,4\n../" + s3_url[5:].encode() + b"/set/a/1.jpg,5\n",
        "shards/0.tar": tar_bytes("x.jpg"),
        "shards/1.tar": tar_bytes("y.jpg"),
        "table.parquet": table.getvalue(),
    }.items():
        system.pipe_file(f"{s3_url}/{name}", data)

    folder = listed(f"{s3_url}/set")
    assert folder["uri"].to_pylist() == [f"{s3_url}/set/a/1.jpg", f"{s3_url}/set/b/2.jpg"]
    assert folder["label"].to_pylist() == [0, 1]
    assert contents(folder) == [b"one", b"two"]
    manifest = listed(f"{s3_url}/list.csv")
    assert contents(manifest) == [b"two", b"one"]
    assert manifest["label"].to_pylist() == [4, 5]
    for uri in ("shards", "shards/*.tar", "shards/{0..1}.tar"):
        assert contents(listed(f"{s3_url}/{uri}")) == [b"x.jpg", b"y.jpg"]
    assert contents(listed(f"{s3_url}/table.parquet")) == [b"cell 0", b"cell 1"]
    with pytest.raises(DatasetError, match="not found"):
        listed(f"{s3_url}/none")


def sample_list() -> pa.Table:
    return number_rows(
        list_rows(
            ["a", "bc", "d", ""],
            label=[0, None, 2, 3],
            class_name=["x", "y", None, ""],
            offset=[None, 5, 6, 0],
        )
    )


def test_dataset_digest_is_independent_of_chunking():
    table = sample_list()
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])

    assert len(dataset_digest(table)) == 64
    assert dataset_digest(chunked) == dataset_digest(table)
    assert dataset_digest(table.slice(1)) == dataset_digest(
        pa.Table.from_pylist(table.slice(1).to_pylist(), schema=table.schema)
    )


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (0, "uri", "ab"),
        (1, "uri", "c"),
        (0, "label", None),
        (1, "label", 0),
        (3, "class_name", None),
        (0, "offset", 0),
        (2, "length", 9),
    ],
)
def test_dataset_digest_changes_with_every_value(row: int, column: str, value: object):
    rows = sample_list().to_pylist()
    rows[row][column] = value

    changed = pa.Table.from_pylist(rows, schema=IMAGE_LIST.schema)

    assert dataset_digest(changed) != dataset_digest(sample_list())


def test_dataset_digest_depends_on_order():
    table = sample_list()

    assert dataset_digest(table.take([1, 0, 2, 3])) != dataset_digest(table)
