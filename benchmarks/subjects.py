"""The three services that are compared, each in processes of its own."""

import json
import os
import py_compile
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from benchmarks.machine import cores

ROOT = Path(__file__).parent.parent
ARTIFACT = ROOT / ".aws-sam" / "build" / "FraudFunction"
BUNDLES = Path("build") / "bundles"
CHILD = Path(__file__).with_name("child.py")
# As in template.yaml.
FUNCTION_ENVIRONMENT = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A service: its module, and the interpreter's options, paths and environment under which it runs."""

    module: str
    options: tuple[str, ...]
    paths: tuple[Path, ...]
    environment: Mapping[str, str]


def make_subjects(folder: Path) -> dict[str, Subject]:
    """Each subject by its name, in the order of a round; `folder` receives the compiled echo.

    Echo and ours see the standard library and the built artifact, nothing of the virtual environment, and write no
    .pyc: what differs between them is their own code.
    """
    _compile_into(folder, ROOT / "benchmarks" / "echo_service.py")
    isolated = ("-I", "-S", "-B")
    function = FUNCTION_ENVIRONMENT | {"BUNDLES": str(ARTIFACT / BUNDLES)}
    return {
        "echo": Subject("echo_service", isolated, (ARTIFACT, folder), function),
        "ours": Subject("handler.app", isolated, (ARTIFACT,), function),
        "joblib": Subject("benchmarks.joblib_service", ("-P",), (ROOT,), {"BUNDLES": str(ROOT / BUNDLES)}),
    }


def _compile_into(folder: Path, source: Path) -> None:
    """A copy of a module with a .pyc that is valid by hash, as those of the artifact are."""
    copy = folder / source.name
    copy.write_bytes(source.read_bytes())
    py_compile.compile(str(copy), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


@dataclass(frozen=True, slots=True)
class Report:
    """What a child measured: its last answer, and the seconds of each of its calls."""

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
        """Start the process, pinned to the last core, and wait for the answer to `event`."""
        plan = {
            "paths": [str(path) for path in subject.paths],
            "module": subject.module,
            "event": event,
            "core": cores()[-1] if hasattr(os, "sched_setaffinity") else None,
        }
        start = perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, *subject.options, CHILD, json.dumps(plan)],
            env=dict(subject.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._report()
        self.wall_seconds = perf_counter() - start

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

    def _report(self) -> Report:
        assert self._process.stdout  # noqa: S101 - for the type checker: it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}; its message is above")
        report = Report(**json.loads(line))
        if report.answer["statusCode"] != 200:  # noqa: PLR2004 - HTTP
            raise RuntimeError(f"{self._process.args!r} answered {report.answer}")
        return report
