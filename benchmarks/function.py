"""A subject as a function: a process of its own that answers API Gateway events and times itself."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from benchmarks.machine import SERVER_CORE, pinned, resident_mb
from benchmarks.subjects import Subject

CHILD = Path(__file__).with_name("child.py")
# The interpreter sees nothing but the subject's paths and the standard library, and writes no .pyc.
ISOLATED = ("-I", "-S", "-B")
HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class Report:
    """What a child measured: its last answer, and the seconds of each step it was told to take."""

    answer: Mapping[str, Any]
    seconds: list[float]

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        found: dict[str, Any] = json.loads(self.answer["body"])
        return found


class Child:
    """A subject's process, which has answered its first event; leaving the context ends it."""

    def __init__(self, subject: Subject, event: Mapping[str, Any]) -> None:
        """Start the process, pinned to the server's core, and wait for the answer to `event`."""
        plan = {"paths": [str(path) for path in subject.paths], "module": subject.module, "event": event}
        start = perf_counter()
        with pinned(SERVER_CORE):
            self._process = subprocess.Popen(
                [sys.executable, *ISOLATED, CHILD, json.dumps(plan)],
                env=dict(subject.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        first = self._report()
        self.wall_seconds = perf_counter() - start
        self.import_seconds, self.first_answer_seconds = first.seconds

    def __enter__(self) -> Self:
        """The child itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process by closing its input."""
        self._process.communicate()

    def call(self, event: Mapping[str, Any], calls: int) -> Report:
        """The report of so many calls, one after the other, with one event."""
        assert self._process.stdin  # noqa: S101 - for the type checker: it is a pipe
        self._process.stdin.write(json.dumps({"event": event, "calls": calls}) + "\n")
        self._process.stdin.flush()
        return self._report()

    def resident_mb(self) -> float:
        """The memory that the process holds now, its share of files in the page cache included."""
        return resident_mb(self._process.pid)

    def _report(self) -> Report:
        assert self._process.stdout  # noqa: S101 - for the type checker: it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}; its message is above")
        report = Report(**json.loads(line))
        if report.answer["statusCode"] != HTTP_OK:
            raise RuntimeError(f"{self._process.args!r} answered {report.answer}")
        return report
