"""The drawn tree is the real one, exit statuses follow it, and hints name near choices."""

from __future__ import annotations

import inspect
import re

import pytest

from schemas import errors
from schemas.errors import ImageRejectedError, InputError, JobError, UnitscopeError, nearest

LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>\w+Error)\b.*?(\(exit status (?P<status>\d)\))?$")


def drawn_tree() -> dict[str, tuple[str | None, int | None]]:
    """Parent and, where it is written, exit status of every class in the module's drawing."""
    drawing = errors.__doc__.split("\n\n")[1].splitlines()
    path: list[str] = []
    tree = {}
    for line in drawing:
        found = LINE.match(line)
        depth = len(found["indent"]) // 4
        path[depth:] = [found["name"]]
        status = None if found["status"] is None else int(found["status"])
        tree[found["name"]] = (path[depth - 1] if depth else None, status)
    return tree


def real_classes() -> dict[str, type[BaseException]]:
    return {
        name: cls
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, BaseException)
    }


def test_tree_in_the_docstring_equals_the_classes():
    drawn = {name: parent for name, (parent, _) in drawn_tree().items()}
    real = {
        name: cls.__base__.__name__ if cls is not UnitscopeError else None
        for name, cls in real_classes().items()
        if issubclass(cls, UnitscopeError)
    }

    assert drawn == real
    assert len(drawn) > 10


def test_tree_in_the_docstring_states_the_exit_statuses():
    classes = real_classes()
    stated = {name: status for name, (_, status) in drawn_tree().items() if status is not None}

    assert stated == {"InputError": 2, "JobError": 3}
    for name, status in stated.items():
        family = [cls for cls in classes.values() if issubclass(cls, classes[name])]
        assert {cls.exit_status for cls in family} == {status}


def test_every_class_is_an_input_error_or_a_job_error():
    loose = [
        name
        for name, cls in real_classes().items()
        if issubclass(cls, UnitscopeError) and not issubclass(cls, InputError | JobError)
    ]

    assert loose == ["UnitscopeError"]


def test_image_rejected_error_stands_apart_and_keeps_its_parts():
    error = ImageRejectedError("truncated", "the data end after 12 bytes")

    assert not isinstance(error, UnitscopeError)
    assert (error.reason, error.detail) == ("truncated", "the data end after 12 bytes")
    assert str(error) == "truncated: the data end after 12 bytes"


@pytest.mark.parametrize("name", sorted(real_classes()))
def test_every_class_says_what_it_means(name: str):
    assert real_classes()[name].__doc__.strip().splitlines()[0].endswith(".")


def test_nearest_with_alike_choices_lists_the_most_like_first():
    choices = ["features.0", "classifier.6", "features.12", "features.3"]

    assert nearest("feature.12", choices) == "nearest: features.12, features.3, features.0"
    assert nearest("feature.12", choices, count=1) == "nearest: features.12"


def test_nearest_with_nothing_alike_lists_the_choices():
    assert nearest("zzz", ["relu1", "relu2"]) == "choices: relu1, relu2"


def test_nearest_with_many_unlike_choices_lists_ten_and_counts_all():
    names = [f"layer{i}" for i in range(12)]

    text = nearest("zzz", iter(names))

    assert text == "choices: " + ", ".join(names[:10]) + ", ... (12 in all)"


def test_nearest_without_choices_lists_none():
    assert nearest("word", []) == "choices: none"
