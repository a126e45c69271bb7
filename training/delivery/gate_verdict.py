"""What the promotion gate measured of a challenger, and its verdict: promote, refuse or cannot tell."""

from dataclasses import dataclass
from typing import Literal

from training.report.record import ReportRecord

# What is compared with the champion: the ranking, the recall at as many alerts, and the recall at the threshold.
GAINS = ("average_precision", "recall_at_the_alert_budget", "recall")

Verdict = Literal["promote", "refuse", "cannot tell"]
PolicyName = Literal["recall", "precision", "review_rate"]


class AlertRates(ReportRecord):
    """The share of the rows that each model flags; without a champion only the challenger's."""

    challenger: float
    champion: float | None = None


class ChallengerCalibration(ReportRecord):
    """The challenger's calibration error, the lower end of its interval, and the limit."""

    challenger: float
    low: float
    limit: float


class PolicyKept(ReportRecord):
    """The share that a release's policy promises, and the measured share with its 95 % interval."""

    name: PolicyName
    promised: float
    value: float
    low: float
    high: float


class Gain(ReportRecord):
    """A metric of both models, and the challenger's minus the champion's with its 95 % interval."""

    challenger: float
    champion: float
    gain: float
    low: float
    high: float


class BestFormer(ReportRecord):
    """The best former release beside the challenger: average precision, and the gain with its 95 % interval."""

    version: str
    challenger: float
    former: float
    gain: float
    low: float
    high: float


class GateMeasures(ReportRecord):
    """What the gate measured; fields that do not apply are not set."""

    file: str | None = None
    """The file of the rows; like `objections` and `doubts`, set only when a pointer keeps the gate's verdict."""
    judged_by: str | None = None
    """The version that was judged in the challenger's place, because it has not learned from the rows."""
    window: tuple[str, str] | None = None
    rows: int | None = None
    frauds: int | None = None
    left_out: int | None = None
    alert_rate: AlertRates | None = None
    block_rate: AlertRates | None = None
    """The shares of the rows that are blocked, if the challenger's decision has bands."""
    calibration_error: ChallengerCalibration | None = None
    policy: PolicyKept | None = None
    block_policy: PolicyKept | None = None
    average_precision: Gain | None = None
    recall_at_the_alert_budget: Gain | None = None
    recall: Gain | None = None
    best_former: BestFormer | None = None
    best: str | None = None
    """Which of champion, challenger and best former has the best average precision; the next gate's best former."""
    objections: tuple[str, ...] | None = None
    doubts: tuple[str, ...] | None = None

    @property
    def gains(self) -> dict[str, Gain]:
        """The measured gains, by metric."""
        gains = {name: getattr(self, name) for name in GAINS}
        return {name: gain for name, gain in gains.items() if gain is not None}


@dataclass(frozen=True)
class GateVerdict:
    """What the gate measured, what speaks against the challenger, and what the rows cannot show."""

    measured: GateMeasures
    objections: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def kind(self) -> Verdict:
        """Refuse if there are objections, cannot tell if there are only doubts, else promote."""
        return "refuse" if self.objections else "cannot tell" if self.doubts else "promote"

    @property
    def reasons(self) -> tuple[str, ...]:
        """The objections, then the doubts."""
        return self.objections + self.doubts
