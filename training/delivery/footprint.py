"""What a request uses of AWS, as `make bench-cost` measured and recorded it."""

from pathlib import Path

from pydantic import ValidationError

from training.delivery.prices import LINE_BYTES
from training.errors import StageError
from training.report.record import ReportRecord
from training.run.files import REPORTS

FOOTPRINT = Path(__file__).parents[2] / REPORTS / "footprint.json"
# The command that measures and records.
MEASURE = "python -m benchmarks.serving.footprint --record"


class ScorerTimes(ReportRecord):
    """Milliseconds of a scorer's requests."""

    p50_ms: float
    p99_ms: float


class MemoryFigures(ReportRecord):
    """What was measured at one memory size."""

    init_ms: float
    used_mb: float
    scorers: dict[str, ScorerTimes]
    billed_ms: float
    busy_billed_ms: float


class LogLines(ReportRecord):
    """How much a request writes to the logs in lines of one kind."""

    lines: float
    bytes: float
    gzipped: float

    @property
    def paid_bytes(self) -> float:
        """How many bytes CloudWatch bills."""
        return self.bytes + LINE_BYTES * self.lines


class TableUnits(ReportRecord):
    """What a request uses of the table of pasts."""

    writes: float
    reads: float
    bytes: float


class Footprint(ReportRecord):
    """The record of `make bench-cost`."""

    machine: dict[str, str | int]
    effort: dict[str, int]
    quota: str
    memory: dict[str, MemoryFigures]
    log: dict[str, LogLines]
    metrics: int
    response_bytes: float
    table: TableUnits


def read_footprint(path: Path = FOOTPRINT) -> Footprint:
    """The recorded measurement; raises StageError if there is none of this format."""
    try:
        return Footprint.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StageError(f"{path} is missing; run `{MEASURE}` to make it") from error
    except ValidationError as error:
        raise StageError(f"{path} has another format; run `{MEASURE}` to make it again: {error}") from error
