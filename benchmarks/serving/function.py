"""A service as a Lambda function: a process of its own that answers API Gateway events and times itself."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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


class FunctionProcess:
    """A service's process, which has answered its first event; leaving the context ends it."""

    def __init__(self, service: Service, event: Event) -> None:
        """Start the process, pinned to the server's core, and wait for the answer to `event`."""
        plan = {"paths": [str(path) for path in service.paths], "module": service.module, "event": event}
        with pinned(SERVER_CORE):
            self._process = subprocess.Popen(
                [sys.executable, *ISOLATED, CHILD, json.dumps(plan)],
                env=dict(service.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.import_seconds, self.first_answer_seconds = self._report().seconds

    def __enter__(self) -> Self:
        """The process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process by closing its input."""
        self._process.communicate()

    def call(self, events: Sequence[Event], calls: int) -> Report:
        """The report of `calls` invocations, one after the other, which take the events in turn."""
        print(json.dumps({"events": events, "calls": calls}), file=self._process.stdin, flush=True)
        return self._report()

    def resident_mb(self) -> float:
        """The resident memory of the process in MB, including the pages of files that it maps."""
        return resident_mb(self._process.pid)

    def _report(self) -> Report:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}; its message is above")
        return Report(**json.loads(line))
