from __future__ import annotations

import pytest

from pipeline.store.layout import (
    JobFolder,
    checkpoint_run,
    layer_file,
    layer_stem,
    may_hold_layer,
    numbered_file,
    only_file,
    shard_of_marker,
)


@pytest.mark.parametrize("run", ["runs/a", "runs/a/", "/data/a", "s3://bucket/a"])
def test_job_folder_paths_are_those_of_the_contract(run: str):
    folder = JobFolder(run, "scan")
    root = run.rstrip("/") + "/scan"

    assert folder.manifest == f"{root}/manifest.json"
    assert folder.work == f"{root}/_work"
    assert folder.plan == f"{root}/_work/plan.json"
    assert folder.work_list("image_list") == f"{root}/_work/image_list.parquet"
    assert folder.done_folder == f"{root}/_work/done"
    assert folder.done(12) == f"{root}/_work/done/00012.json"
    assert folder.part(12, "abc", "part_top") == f"{root}/_work/parts/00012-abc-part_top.parquet"
    assert folder.table("units") == f"{root}/units"
    assert folder.table_file("units", "all.parquet") == f"{root}/units/all.parquet"


def test_job_folder_relative_and_at_are_inverse():
    folder = JobFolder("s3://bucket/a", "scan")
    url = folder.table_file("units", "all.parquet")

    assert folder.relative(url) == "units/all.parquet"
    assert folder.at("units/all.parquet") == url


def test_runs_of_checkpoints_stand_below_the_run():
    assert checkpoint_run("s3://b/a/", "epoch08") == "s3://b/a/checkpoints/epoch08"


def test_files_of_a_table_are_named_by_it_and_by_their_number():
    assert only_file("units") == "units.parquet"
    assert numbered_file("images", 12) == "images-00012.parquet"


def test_layer_file_of_a_plain_name_keeps_it():
    assert layer_file(7, "features.7") == "007-features.7.parquet"
    assert layer_stem(7, "features.7") == "007-features.7"


@pytest.mark.parametrize("layer", ["../../etc", "a/b c", "x" * 500, "größe", "a?b#c%d", ".."])
def test_layer_file_of_a_hostile_name_is_one_safe_file(layer: str):
    name = layer_file(3, layer)

    assert name.startswith("003-")
    assert name.endswith(".parquet")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert len(name) < 255


def test_layer_file_of_colliding_names_differs_by_position():
    assert layer_file(1, "a/b") != layer_file(2, "a_b")


def test_may_hold_layer_by_name_is_true_where_in_doubt():
    assert may_hold_layer(layer_file(7, "a.relu"), "a.relu")
    assert may_hold_layer(layer_file(7, "a/b"), "a/b")
    assert not may_hold_layer(layer_file(7, "a.relu_1"), "a.relu")
    assert may_hold_layer("all.parquet", "a.relu")


def test_shard_of_marker_of_other_files_is_none():
    assert shard_of_marker("00012.json") == 12
    assert shard_of_marker("123456.json") == 123456
    assert shard_of_marker("00012.json.bak") is None
    assert shard_of_marker("probe") is None
