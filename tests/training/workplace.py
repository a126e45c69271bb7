"""A user's folder, in which tests run commands."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@dataclass(frozen=True)
class Workplace:
    """A user's folder after `make train`, which is the working folder, and the commands that run there."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def reports(self) -> Path:
        """The folder of the mini scorer's reports."""
        return self.folder / "reports" / "mini"

    def run(self, command: ModuleType, *arguments: str) -> Any:  # noqa: ANN401 - None, an int or a text
        """Run a command in this process; returns its exit status or message, or None."""
        self.monkeypatch.setattr(sys, "argv", [command.__name__, *arguments])
        try:
            command.main()
        except SystemExit as ended:
            return ended.code
        return None

    def report(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """The content of a JSON report."""
        return json.loads((self.reports / f"{name}.json").read_text())
