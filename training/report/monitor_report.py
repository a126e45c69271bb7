"""The monitor's report: what each block of time shows, and the state that follows."""

from datetime import UTC, datetime

import pandas as pd
from pydantic import Field

from training.data.times import day_text
from training.errors import counted
from training.report.record import ReportRecord

# The state of a log, and the verdict on a block, that is too small to be judged.
INSUFFICIENT = "insufficient"
# Measured performance that the table has columns for.
MEASURES = ("recall", "precision", "average_precision", "labelled", "frauds")


class ScoreShift(ReportRecord):
    """How far the scores are from the baseline's."""

    psi: float
    p_value: float


class FeatureShift(ReportRecord):
    """How far a feature is from the baseline; the p-value is corrected for the number of features."""

    psi: float
    p_value: float
    missing: float
    baseline_missing: float
    unseen: float | None = None
    """The share of rare and new values; set for categories only."""
    baseline_unseen: float | None = None


class EstimatedPerformance(ReportRecord):
    """Performance as calibrated scores predict it, without labels."""

    precision: float
    recall: float
    recall_deviation: float
    average_precision: float
    fraud_rate: float


class MeasuredPerformance(ReportRecord):
    """Performance on the predictions whose labels are known, with 95 % intervals; None for what is unknown."""

    labelled: int
    frauds: int
    alerts: int
    caught: int
    expected_frauds: float
    recall: float | None
    recall_interval: tuple[float, float]
    precision: float | None
    precision_interval: tuple[float, float]
    average_precision: float | None
    fraud_rate: float | None = None
    """The share of the labelled predictions that are frauds."""
    control: int | None = None
    """How many of the labelled ones are of the control group and stand for all that was blocked; frauds, alerts and
    caught are then effective sample sizes (Kish 1965). None without a control group."""
    lacks_blocked: bool = False
    """Whether this is the performance on unblocked requests only, because few labels of blocked ones are known."""


class Reviews(ReportRecord):
    """How reviewers judged what the model did, with 95 % intervals."""

    reviewed: int
    agreed: int
    """Found to be fraud and flagged, or neither."""
    agreed_interval: tuple[float, float]
    flagged: int
    confirmed: int
    """Flagged, and found to be fraud."""
    confirmed_interval: tuple[float, float]


class GroupRates(ReportRecord):
    """How requests with one value of an audit field were treated, in the whole log, with 95 % intervals."""

    field: str
    group: str
    predictions: int
    alert_rate: float
    legitimate: int
    """How many are known to be legitimate."""
    false_positive_rate: float | None
    """The share of the legitimate ones that was flagged."""
    false_positive_interval: tuple[float, float]
    ratio: float | None = None
    """To that of all others; 1 is parity. None if one of the two has too few legitimate ones, or none flagged."""
    ratio_interval: tuple[float, float] | None = None


class Block(ReportRecord):
    """The predictions of a block of time, compared with the baseline."""

    begins: int = Field(validation_alias="from", serialization_alias="from")
    """In seconds, like `ends`."""
    ends: int = Field(validation_alias="to", serialization_alias="to")
    rows: int
    predictions: int
    """How many predictions the rows stand for, if only a share was recorded."""
    versions: tuple[str, ...]
    alert_rate: float
    baseline_alert_rate: float
    block_rate: float | None = None
    """The share of the requests that is blocked; None if the decision has no bands."""
    baseline_block_rate: float | None = None
    warned: float
    """The share of predictions with a warning."""
    milliseconds_p99: float | None
    score: ScoreShift
    features: dict[str, FeatureShift]
    unrecorded: dict[str, float] = Field(default_factory=dict)
    """By feature, the share of the baseline version's own records that lack it although they should hold it."""
    estimated: EstimatedPerformance
    baseline_estimated: EstimatedPerformance
    baseline_recall: float
    baseline_caught: int
    baseline_frauds: int
    baseline_fraud_rate: float
    measured: MeasuredPerformance
    """On this block and the ones before it that the policy pools with it."""


class JudgedBlock(Block):
    """A block with its verdict."""

    verdict: str
    reasons: tuple[str, ...]

    @property
    def is_judged(self) -> bool:
        """Whether it had enough predictions, or outcomes, for a verdict."""
        return self.verdict != INSUFFICIENT


class MonitorReport(ReportRecord):
    """What a log shows of a scorer, block by block."""

    scorer: str
    baseline: str
    """The version whose baseline the blocks are compared with."""
    begins: int | None = Field(default=None, validation_alias="from", serialization_alias="from")
    """When the first prediction was made, in seconds, and `ends` the last one; None if there is none."""
    ends: int | None = Field(default=None, validation_alias="to", serialization_alias="to")
    state: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What else must be known about the log and the comparison."""
    counts: dict[str, int]
    """How many lines of each kind were read."""
    reviews: Reviews | None = None
    """None if no outcome came from a review."""
    groups: tuple[GroupRates, ...] = ()
    """The groups of the audit fields; empty if no audit field is declared."""
    blocks: tuple[JudgedBlock, ...]


def block_table(report: MonitorReport) -> pd.DataFrame:
    """One line per block, for DVC's plots and a spreadsheet."""
    return pd.DataFrame(
        [
            {
                "from": f"{datetime.fromtimestamp(block.begins, UTC):%Y-%m-%d %H:%M}",
                "verdict": block.verdict,
                "predictions": block.predictions,
                "alert_rate": block.alert_rate,
                **({} if block.block_rate is None else {"block_rate": block.block_rate}),
                "estimated_recall": block.estimated.recall,
                **{name: getattr(block.measured, name) for name in MEASURES},
                "psi_score": block.score.psi,
                **{f"psi_{name}": shift.psi for name, shift in block.features.items()},
            }
            for block in report.blocks
        ]
    )


def monitor_summary(report: MonitorReport) -> str:
    """The state, what was read, the reasons and the notes, for the person on call."""
    predictions = counted(sum(block.predictions for block in report.blocks), "prediction")
    blocks = counted(len(report.blocks), "block")
    counts = ", ".join(f"{name}: {count:,}" for name, count in report.counts.items()) or "nothing was read"
    first = f"{report.scorer}: {report.state}, {predictions}{_when(report)} in {blocks} ({counts})"
    return "\n".join([first, *(f"  {sentence}" for sentence in (*report.reasons, *report.notes))])


def _when(report: MonitorReport) -> str:
    if report.begins is None or report.ends is None:
        return ""
    days = sorted({day_text(report.begins), day_text(report.ends)})
    return f" on {days[0]}" if len(days) == 1 else f" from {days[0]} to {days[1]}"
