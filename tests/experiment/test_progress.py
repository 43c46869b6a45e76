"""One live line where there is a terminal, a line per 10 % where there is none."""

import io
import re

import pytest

from rlteach.experiment.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def played(stream: io.StringIO, total: int, steps: range, **kwargs: bool) -> int:
    """Update at each step and finish; return how often the text was composed."""
    composed = 0

    def text() -> str:
        nonlocal composed
        composed += 1
        return f"text {composed}"

    progress = Progress(total, stream=stream, **kwargs)
    for step in steps:
        progress.update(step, text)
    progress.finish("finished")
    progress.close()
    return composed


@pytest.mark.parametrize(("total", "every"), [(1000, 1), (1000, 64), (50_000, 2048)])
def test_without_a_terminal_there_is_a_line_per_tenth_and_a_last_one(total: int, every: int) -> None:
    stream = io.StringIO()
    composed = played(stream, total, range(0, total, every))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10 and composed == 9
    steps = [int(line.split("/")[0].replace(",", "")) for line in lines]
    assert steps == [-(-total * tenth // (10 * every)) * every for tenth in range(1, 10)] + [total]
    assert lines[-1].endswith("finished") and lines[0].endswith("text 1")
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_rollouts_longer_than_a_tenth_give_a_line_each() -> None:
    stream = io.StringIO()
    played(stream, 1000, range(0, 1000, 300))
    assert [line.split(" ")[0] for line in stream.getvalue().splitlines()] == [
        "300/1,000", "600/1,000", "900/1,000", "1,000/1,000",
    ]  # fmt: skip


def test_a_resumed_run_begins_at_its_own_tenth() -> None:
    stream = io.StringIO()
    played(stream, 1000, range(550, 1000, 10))
    steps = [line.split("/")[0] for line in stream.getvalue().splitlines()]
    assert steps == ["600", "700", "800", "900", "1,000"]


def test_a_terminal_has_one_live_line_and_ends_with_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("rlteach.experiment.progress.time.monotonic", lambda: now[0])
    stream = Terminal()
    progress = Progress(1000, stream=stream)
    composed = []
    now[0] = 100.0
    for step in range(0, 1000, 10):
        progress.update(step, lambda step=step: composed.append(step) or f"at {step}")  # type: ignore[func-returns-value,misc]
        now[0] += 0.05
    assert stream.getvalue().count("\n") == 0, "nothing scrolls"
    assert len(composed) == 20, "at most five times a second, however many updates"
    progress.say("a word between")
    progress.finish("finished")
    progress.close()
    text = stream.getvalue()
    shown = re.sub(r"[^\n]*\r\x1b\[K", "", text)  # what is left on the screen
    assert [line for line in shown.splitlines() if line] == [
        "a word between",
        "1,000/1,000 steps  200/s  0:00 left  finished",
    ]


def test_speed_and_time_left_are_measured_from_where_this_sitting_began(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr("rlteach.experiment.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(10_000, stream=stream)
    progress.update(4_000, lambda: "")
    now[0] += 10
    progress.update(5_000, lambda: "half")
    assert stream.getvalue() == "5,000/10,000 steps  100/s  0:50 left  half\n"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_means_nothing_at_all(stream: io.StringIO) -> None:
    assert played(stream, 100, range(0, 100, 5), quiet=True) == 0
    assert stream.getvalue() == ""


def test_nothing_is_left_behind_when_nothing_was_shown() -> None:
    stream = Terminal()
    progress = Progress(10, stream=stream)
    progress.finish("never began")
    progress.close()
    progress.close()
    assert stream.getvalue() == ""
