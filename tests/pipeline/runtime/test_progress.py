from __future__ import annotations

import io
import json
from typing import Any

import pytest

from pipeline.runtime.progress import BarProgress, LogProgress, make_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_progress_off_a_terminal_writes_json_lines_with_speed_and_time_left():
    stream, clock = io.StringIO(), Clock()
    with make_progress(
        "scan", "images", total=1000, done=200, stream=stream, clock=clock
    ) as progress:
        clock.now += 4
        progress.advance(items=100, rejects=3)
        clock.now += 6
        progress.advance(items=100, retries=1)
        clock.now += 6
        progress.advance(items=600)

    assert [line["event"] for line in lines(stream)] == ["start", "progress", "end"]
    assert lines(stream)[1] == {
        "event": "progress",
        "job": "scan",
        "done": 400,
        "total": 1000,
        "rejects": 3,
        "retries": 1,
        "images_per_s": 20.0,
        "seconds_left": 30,
    }
    assert lines(stream)[0]["seconds_left"] is None
    assert lines(stream)[2]["done"] == 1000
    assert lines(stream)[2]["seconds_left"] == 0


def test_progress_sign_of_life_writes_a_line_only_when_one_is_due():
    stream, clock = io.StringIO(), Clock()
    with make_progress("scan", "images", total=10, done=0, stream=stream, clock=clock) as progress:
        for _ in range(25):
            clock.now += 1
            progress.advance()

    assert [line["event"] for line in lines(stream)] == ["start", "progress", "progress", "end"]


def test_progress_note_is_a_line_that_delays_no_other():
    stream, clock = io.StringIO(), Clock()
    with make_progress("scan", "images", total=10, done=0, stream=stream, clock=clock) as progress:
        clock.now += 9
        progress.note("a worker\ndied")
        clock.now += 1
        progress.advance()

    assert [line["event"] for line in lines(stream)] == ["start", "note", "progress", "end"]
    assert lines(stream)[1]["message"] == "a worker\ndied"


def test_progress_after_an_error_ends_as_stopped():
    stream = io.StringIO()
    with pytest.raises(KeyError), make_progress("scan", "images", total=10, done=0, stream=stream):
        raise KeyError

    assert lines(stream)[-1]["event"] == "stopped"


def test_progress_on_a_terminal_draws_a_bar_and_prints_notes_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    stream, clock = Terminal(), Clock()
    with make_progress(
        "scan", "images", total=1000, done=200, stream=stream, clock=clock
    ) as progress:
        clock.now += 10
        progress.advance(items=100, rejects=2, retries=1)
        progress.note("image [red]7[/red] is bad")

    drawn = stream.getvalue()
    assert "300/1000" in drawn
    assert "10.0 images/s  0:01:10 left  2 rejects  1 retries" in drawn
    assert "image [red]7[/red] is bad" in drawn


@pytest.mark.parametrize(
    ("stream", "kind"), [(Terminal(), BarProgress), (io.StringIO(), LogProgress)]
)
def test_make_progress_chooses_by_the_stream(stream: io.StringIO, kind: type):
    assert isinstance(make_progress("scan", "images", total=1, done=0, stream=stream), kind)
