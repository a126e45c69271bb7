"""A service as a Lambda function: a process of its own that answers API Gateway events and times itself."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Self

from benchmarks.machine import SERVER_CORE, pinned, resident_mb
from benchmarks.serving.services import Service

CHILD = Path(__file__).with_name("child.py")
# The interpreter sees nothing but the service's paths and the standard library, and writes no .pyc.
ISOLATED = ("-I", "-S", "-B")

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What the process measured: its last answer, and the seconds of each call."""

    answer: Mapping[str, Any]
    seconds: list[float]

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        body: dict[str, Any] = json.loads(self.answer["body"])
        return body


class FunctionProcess:
    """A service's process, which has answered its first event; leaving the context ends it."""

    def __init__(self, service: Service, event: Event, messages: IO[bytes] | None = None) -> None:
        """Start the process, pinned to the server's core, and wait for the answer to `event`.

        `messages` receives its stderr.
        """
        plan = {"paths": [str(path) for path in service.paths], "module": service.module, "event": event}
        start = perf_counter()
        with pinned(SERVER_CORE):
            self._process = subprocess.Popen(
                [sys.executable, *ISOLATED, CHILD, json.dumps(plan)],
                env=dict(service.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
            )
        first = self._report()
        self.wall_seconds = perf_counter() - start
        self.import_seconds, self.first_answer_seconds = first.seconds

    def __enter__(self) -> Self:
        """The process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process by closing its input."""
        self._process.communicate()

    def call(self, events: Sequence[Event], calls: int) -> Report:
        """The report of `calls` invocations, one after the other, which take the events in turn."""
        assert self._process.stdin  # noqa: S101 - for the type checker: it is a pipe
        self._process.stdin.write(json.dumps({"events": events, "calls": calls}) + "\n")
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
        return Report(**json.loads(line))
