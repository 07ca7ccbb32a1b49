from __future__ import annotations

from pathlib import Path

from pipeline.report.class_names import class_names
from pipeline.store import open_run
from tests import made_up_run


def test_class_names_are_those_of_the_first_image_else_numbers(tmp_path: Path):
    name = class_names(open_run(made_up_run.scan(tmp_path / "run", {"conv1": 2})))
    # Image 0 has no class name, image 10 is the first of label 0 that has one.
    assert [name(each) for each in (1, 0, 901)] == ["thing 1", "thing 10", "class 901"]
