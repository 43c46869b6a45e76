"""One live line: step of total, speed, time left, and what the learner does. Without a terminal, a line per 10 %."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO


class Progress:
    """Shows how far a run is.

    Args:
        total: Steps of the whole run.
        quiet: Show nothing.
        stream: Where to write; standard error by default, so that results can be piped.
    """

    def __init__(self, total: int, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._total = total
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._start: tuple[float, int] | None = None
        self._last_shown = 0.0
        self._tenth = 0

    def update(self, step: int, text: Callable[[], str]) -> None:
        """Show the state at `step`; a terminal is updated at most five times a second.

        Args:
            step: Steps done.
            text: Called only when the line is shown, since this is asked at every rollout.
        """
        now = time.monotonic()
        if self._start is None:
            self._start = (now, step)
            self._tenth = 10 * step // self._total
        if self._quiet:
            return
        if self._live and now - self._last_shown > 0.2:
            self._last_shown = now
            self._stream.write(f"\r\x1b[K{self._line(now, step, text())}")
            self._stream.flush()
        elif not self._live and 10 * step // self._total > self._tenth:
            self._tenth = 10 * step // self._total
            self.say(self._line(now, step, text()))

    def _line(self, now: float, step: int, text: str) -> str:
        assert self._start is not None
        begun, first = self._start
        speed = (step - first) / max(now - begun, 1e-9)
        left = (self._total - step) / speed if speed > 0 else float("inf")
        eta = "--:--" if left == float("inf") else f"{int(left // 60)}:{int(left % 60):02d}"
        return f"{step:,}/{self._total:,} steps  {speed:,.0f}/s  {eta} left  {text}"

    def say(self, text: str) -> None:
        """Print a line of its own."""
        if not self._quiet:
            self._stream.write(("\r\x1b[K" if self._live else "") + text + "\n")
            self._stream.flush()

    def finish(self, text: str) -> None:
        """Show the last line."""
        if self._start is not None:
            self.say(self._line(time.monotonic(), self._total, text))

    def close(self) -> None:
        """Leave the terminal with the cursor on a fresh line."""
        if self._live and not self._quiet and self._last_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
