"""How often the gate promotes a challenger that is as good as the champion, and one that is worse: `make bench-gate`.

Champion and challenger are the shipped model with independent noise on its margins: as much as two models that differ
only in their seed disagree. A worse challenger has more noise, just enough to lose the given average precision on many
copies of the rows, so that its true loss is known. Each challenge resamples the shipped test window to a window of the
same size, on which `weigh` judges with the gate's default margin.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
from scipy.stats import norm

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.quality.sets import existing
from benchmarks.tables import SCORERS, date_of, number, table
from training.declaration import read_declarations
from training.delivery.weighing import JudgedRows, ModelAnswers, weigh
from training.evaluation.calibration import calibrated, fit_platt
from training.evaluation.metrics import average_precision, rank
from training.model.fit import margins
from training.params import Gate
from training.run.files import BUILD
from training.run.matrix import Floats, Labels
from training.run.processes import on_all_cores
from training.run.progress import say

SIZES = {"challengers": (200, 2), "copies": (20, 1), "one_in": (1, 20)}
# The margins of two models that differ only in their seed differ with a standard deviation of 0.62 (transaction) and
# 0.31 (refund), which is this much noise in each. Their average precision on the test window then differs with a
# standard error of 0.0055 and 0.0046.
NOISE = {"transaction": 0.45, "refund": 0.22}
ALERT_RATE = 0.05
LOSSES = {"equal": 0.0, "worse": 0.02}
SEED = 7
# The gate's promise: it promotes at least this share of equal challengers, at most this share of those worse by 0.02.
LEAST_EQUAL, MOST_WORSE = 0.8, 0.05
STEPS = 20
MOST_NOISE = 8.0


@dataclass(frozen=True)
class Variant:
    """A model with noise on its margins: its calibration, threshold and average precision."""

    name: str
    noise: float
    calibration: dict[str, float]
    threshold: float
    average_precision: float

    def answers(self, margin: Floats, rng: np.random.Generator) -> ModelAnswers:
        """Its answers to rows to which the shipped model gives these margins."""
        probability = calibrated(margin + self.noise * rng.normal(size=len(margin)), self.calibration)
        return ModelAnswers(self.name, probability, probability >= self.threshold)


@dataclass(frozen=True)
class Population:
    """Many copies of the rows of a test window, with the shipped model's margins, and one draw of noise per row."""

    margin: Floats
    label: Labels
    noise: Floats
    usual: float
    """The standard deviation of the champion's noise."""

    def worth(self, noise: float) -> float:
        """The average precision of the model with this much noise."""
        return average_precision(*rank(self.margin + noise * self.noise, self.label).counts())

    def variant(self, name: str, loss: float) -> Variant:
        """The model whose average precision is `loss` below the champion's; its noise is found by bisection."""
        target, low, high = self.worth(self.usual) - loss, self.usual, MOST_NOISE
        for _ in range(STEPS if loss else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if self.worth(middle) > target else (low, middle)
        margin = self.margin + low * self.noise
        slope, intercept = fit_platt(margin, self.label)
        calibration = {"slope": slope, "intercept": intercept}
        threshold = float(np.quantile(calibrated(margin, calibration), 1 - ALERT_RATE))
        return Variant(name, low, calibration, threshold, self.worth(low))


def challenge(
    champion: Variant, challenger: Variant, margin: Floats, label: Labels, seed: int
) -> tuple[str, float, int]:
    """The verdict on a window resampled from the rows, the width of the gain's interval, and the window's frauds."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(label), len(label))
    answers = [variant.answers(margin[drawn], rng) for variant in (challenger, champion)]
    verdict = weigh(*answers, None, JudgedRows(label[drawn], Gate(), seed), agreed=ALERT_RATE)
    gain = verdict.measured.average_precision
    return verdict.kind, gain.high - gain.low if gain else 0.0, int(label[drawn].sum())


def scored_test_window(name: str, one_in: int) -> tuple[Floats, Labels]:
    """The shipped model's margins of its test window's rows, and their labels."""
    scorer, folder = read_declarations(ROOT / "params.yaml").scorers[name], ROOT / BUILD / name
    paths = [existing(folder / file, "run `make train`") for file in ("rows/test.parquet", "pipeline.joblib")]
    rows = pd.read_parquet(paths[0]).iloc[::one_in]
    return margins(joblib.load(paths[1]), rows).astype(np.float64), rows[scorer.label].to_numpy(np.int8)


def measure(name: str, options: Namespace) -> dict[str, Any]:
    """The verdicts on challengers of each loss, and how many frauds it takes to promote enough equal challengers."""
    margin, label = scored_test_window(name, options.one_in)
    many = np.tile(margin, options.copies)
    noise = np.random.default_rng(SEED).normal(size=len(many))
    population = Population(many, np.tile(label, options.copies), noise, NOISE[name])
    champion = population.variant("champion", 0.0)
    report: dict[str, Any] = {"rows": len(label), "frauds": int(label.sum()), "margin": Gate().margin}
    for kind, loss in LOSSES.items():
        challenger = population.variant("challenger", loss)
        say(f"{name}, {kind}: noise {challenger.noise:.3f}, average precision {challenger.average_precision:.4f}")
        tasks = [
            (challenge, champion, challenger, margin, label, SEED + number) for number in range(options.challengers)
        ]
        verdicts, widths, frauds = zip(*on_all_cores(tasks, f"{name}, {kind}"), strict=True)
        counts = Counter(verdicts)
        report[kind] = {
            "loss": champion.average_precision - challenger.average_precision,
            **{verdict: counts[verdict] / len(verdicts) for verdict in ("promote", "cannot tell", "refuse")},
        }
        if not loss:
            report["standard_error"] = float(np.mean(widths)) / (2 * norm.ppf(0.975))
            report["frauds_needed"] = frauds_needed(report["standard_error"], float(np.mean(frauds)))
    return report


def frauds_needed(standard_error: float, frauds: float) -> float:
    """The number of frauds from which LEAST_EQUAL of equal challengers pass; the error falls with its square root."""
    enough = Gate().margin / (norm.ppf(0.975) + norm.ppf(LEAST_EQUAL))
    return float(frauds * (standard_error / enough) ** 2)


def excesses(report: Mapping[str, Any]) -> list[str]:
    """The promises that are not kept."""
    sentences = []
    for name in SCORERS:
        equal, worse = (report[name][kind]["promote"] for kind in LOSSES)
        if equal < LEAST_EQUAL:
            sentences.append(f"{name}: {equal:.1%} of the equal challengers pass, at least {LEAST_EQUAL:.0%} should")
        if worse > MOST_WORSE:
            sentences.append(f"{name}: {worse:.1%} of the worse challengers pass, at most {MOST_WORSE:.0%} may")
    return sentences


def gate_table(report: Mapping[str, Any]) -> str:
    """The verdicts on equal and on worse challengers, and what the window allows."""
    scorers = [report[name] for name in SCORERS]
    rows = [
        [f"{title}: promoted, cannot tell, refused"]
        + [
            ", ".join(f"{scorer[kind][name]:.1%}" for name in ("promote", "cannot tell", "refuse"))
            for scorer in scorers
        ]
        for kind, title in (("equal", "equally good challengers"), ("worse", "challengers worse by 0.02"))
    ]
    rows += [
        ["test rows, of which frauds", *(f"{scorer['rows']:,}, {scorer['frauds']:,}" for scorer in scorers)],
        ["standard error of the gain in average precision", *(number(scorer["standard_error"]) for scorer in scorers)],
        [
            "frauds needed for four of five equal challengers to pass",
            *(f"{scorer['frauds_needed']:,.0f}" for scorer in scorers),
        ],
    ]
    return table([f"`make bench-gate` on {date_of(report)}", *SCORERS], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Challenge both shipped scorers, print the table, and end with an error if the gate breaks its promise."""
    options = options_of("releases.gate", __doc__, SIZES, arguments)
    report: dict[str, Any] = {"machine": machine(), "challengers": options.challengers}
    report |= {name: measure(name, options) for name in SCORERS}
    say(gate_table(report))
    keep("gate", report, options, excesses(report))


if __name__ == "__main__":
    main()
