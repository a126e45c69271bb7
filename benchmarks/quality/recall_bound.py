"""How often the recall policy reaches its target on fresh rows, with its confidence bound and without."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.command import ROOT
from benchmarks.quality.part import AbsentError, Line, Part
from benchmarks.tables import SCORERS, table
from training.declaration import ScorerDeclaration, read_params
from training.evaluation.calibration import calibrated
from training.evaluation.intervals import draw_weights
from training.evaluation.threshold import threshold_for
from training.model.fit import margins
from training.params import Decision
from training.run.files import BUILD
from training.run.matrix import Floats, Labels
from training.run.progress import progress

TARGET = 0.9
CONFIDENCE = 0.95
FRESH = {
    "population": "what the resamples are drawn from: the bound's promise",
    "left-out rows": "the rows a resample left out (few frauds: noise on top)",
    "other half": "a random half that was never drawn from (the same)",
    "test window": "the later test window, where the fraud has changed",
}
POLICIES = {"bound": Decision(recall=TARGET, confidence=CONFIDENCE), "plain": Decision(recall=TARGET)}
CONCLUSION = (
    f"the bound promises the population: a recall of {TARGET:g} in at least {CONFIDENCE:.0%} of draws of calibration "
    "rows from it. The left-out rows and the other half are finite sets of fresh frauds, whose own noise comes on top "
    "(and the half is drawn twice, split and resampled); the test window holds fraud that has changed, which no bound "
    "covers"
)


@dataclass(frozen=True)
class Scored:
    """Rows as the policy sees them: their probabilities and labels."""

    probability: Floats
    label: Labels

    def __getitem__(self, rows: npt.NDArray[np.generic]) -> "Scored":
        """The rows at positions, or under a mask."""
        return Scored(self.probability[rows], self.label[rows])

    def at(self, threshold: float) -> tuple[float, float]:
        """Recall and alert rate at a threshold."""
        flagged = self.probability >= threshold
        return float(flagged[self.label == 1].mean()), float(flagged.mean())


def scored_window(name: str, scorer: ScorerDeclaration, window: str) -> Scored:
    """A window of a scorer's rows through its pipeline.

    Raises AbsentError where the scorer has not been trained.
    """
    folder = ROOT / BUILD / name
    paths = [folder / "rows" / f"{window}.parquet", folder / "pipeline.joblib", folder / "calibration.json"]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise AbsentError(f"{', '.join(missing)} is absent; run `make train`")
    rows, pipeline = pd.read_parquet(paths[0]), joblib.load(paths[1])
    calibration = json.loads(paths[2].read_text(encoding="utf-8"))["calibration"]
    return Scored(calibrated(margins(pipeline, rows), calibration), rows[scorer.label].to_numpy())


def draws(calibration: Scored, test: Scored, n_draws: int, seed: int) -> Iterator[tuple[Scored, dict[str, Scored]]]:
    """Per draw the rows that a threshold is chosen on, and the fresh rows by their kind; two pairs a draw."""
    rng = np.random.default_rng(seed)
    half = len(calibration.label) // 2
    for weight in progress(draw_weights(calibration.label, n_draws, seed), "draws", total=n_draws):
        drawn = calibration[np.repeat(np.arange(len(weight)), weight.astype(int))]
        yield drawn, {"population": calibration, "left-out rows": calibration[weight == 0], "test window": test}
        shuffled = rng.permutation(len(calibration.label))
        yield calibration[rng.choice(shuffled[:half], half)], {"other half": calibration[shuffled[half:]]}


def target_reached(calibration: Scored, test: Scored, n_draws: int, seed: int) -> pd.DataFrame:
    """Means over draws: a row per kind of fresh rows; per policy is the target kept, recall, alert rate, threshold."""
    measured = []
    for drawn, fresh in draws(calibration, test, n_draws, seed):
        for policy, decision in POLICIES.items():
            threshold = threshold_for(drawn.probability, drawn.label, decision)
            for kind, rows in fresh.items():
                recall, alert_rate = rows.at(threshold)
                measured.append((kind, policy, float(recall >= TARGET), recall, alert_rate, threshold))
    values = ["kept", "recall", "alert_rate", "threshold"]
    table = pd.DataFrame(measured, columns=["fresh", "policy", *values])
    return table.pivot_table(values=values, index="fresh", columns="policy").loc[list(FRESH), values]


def recall_bound(n_draws: int) -> Part:
    """Every declared scorer: how often recall on fresh rows is the target or more, with the bound and without."""
    lines: list[Line] = []
    conclusions = [f"{n_draws} draws a scorer; {CONCLUSION}"]
    for name, scorer in read_params().scorers.items():
        calibration, test = (scored_window(name, scorer, window) for window in ("calibrate", "test"))
        for fresh, means in target_reached(calibration, test, n_draws, scorer.seed).iterrows():
            line: Line = {"scorer": name, "frauds": int(calibration.label.sum()), "fresh": fresh}
            lines.append(line | {f"{value}_{policy}": float(mean) for (value, policy), mean in means.items()})
        conclusions.append(price(lines[-len(FRESH)]))
    return Part(lines, conclusions)


def price(line: Line) -> str:
    """One sentence: what the bound costs on the population."""
    return (
        f"{line['scorer']}: the bound lowers the mean threshold from {line['threshold_plain']:.4f} to "
        f"{line['threshold_bound']:.4f} and raises the alert rate from {line['alert_rate_plain']:.1%} to "
        f"{line['alert_rate_bound']:.1%}"
    )


def recall_bound_table(report: Mapping[str, Any]) -> str:
    """How often the recall target is met on fresh rows, with the confidence bound and without."""
    lines = {(line["scorer"], line["fresh"]): line for line in report["recall_bound"]["lines"]}
    rows = [
        [title] + [f"{lines[scorer, fresh][f'kept_{kind}']:.1%}" for scorer in SCORERS for kind in ("bound", "plain")]
        for fresh, title in FRESH.items()
    ]
    heading = [f"{scorer}: {kind}" for scorer in SCORERS for kind in ("with the bound", "without")]
    return table(["fresh rows", *heading], rows)
