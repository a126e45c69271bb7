"""A part of the quality benchmark: its lines and conclusions, as printed and as recorded."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from benchmarks.machine import machine

# A value of None is one that was not published or cannot be measured.
Line = dict[str, Any]


class AbsentError(FileNotFoundError):
    """Raised when the file that a part measures is not there."""


@dataclass(frozen=True)
class Part:
    """The lines of a table, and what they say in sentences."""

    lines: list[Line]
    conclusions: list[str]

    def text(self) -> str:
        """The table and the sentences."""
        table = pd.DataFrame(self.lines).to_string(index=False, na_rep="", float_format="%.4g")
        return "\n".join([table, "", *self.conclusions])

    def record(self) -> dict[str, Any]:
        """The part as JSON, with the machine and the date."""
        return {"machine": machine(), **asdict(self)}
