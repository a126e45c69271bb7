"""The data for plots of scored, labelled rows: ROC, precision and recall, reliability, cost by threshold."""

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from training.evaluation.calibration import calibration_bins
from training.evaluation.cost import Money, RankedCosts
from training.evaluation.intervals import grouped_share_interval
from training.evaluation.measure import Evaluation
from training.params import COST_PARTS
from training.run.matrix import Floats, Labels, Positions

# As many points as a plot can show; more would only bloat the repository.
CURVE_POINTS = 200
COST_COLUMNS = ["threshold", "alert_rate", "reviews_a_day", *COST_PARTS, "cost_of_1000"]


def costs_at(evaluation: Evaluation, money: Money, positions: Positions) -> pd.DataFrame:
    """The parts of the cost of 1,000 requests, and the reviews a day, with the threshold at each position."""
    costs, block, n_rows = RankedCosts(evaluation.ranking, money), evaluation.blocked(positions), len(evaluation.label)
    parts = dict(zip(COST_PARTS, 1000 * costs.parts(positions, block) / n_rows, strict=True))
    return pd.DataFrame(parts | {"reviews_a_day": (costs.n_flagged[positions] - costs.n_flagged[block]) / money.days})


def cost_curve(evaluation: Evaluation, money: Money) -> pd.DataFrame:
    """The parts of the cost of 1,000 requests, by the threshold to flag from; the one to block from is as declared."""
    frauds, legitimate = evaluation.ranking.counts()
    flagged = frauds + legitimate
    positions = np.unique(np.clip(np.searchsorted(flagged, np.geomspace(1, flagged[-1], CURVE_POINTS)), 1, None))
    table = costs_at(evaluation, money, positions)
    table.insert(0, "threshold", [evaluation.ranking.threshold_at(position) for position in positions])
    table.insert(1, "alert_rate", flagged[positions] / flagged[-1])
    return table.assign(cost_of_1000=table[list(COST_PARTS)].sum(axis="columns"))[COST_COLUMNS]


def curves(probability: Floats, label: Labels) -> dict[str, pd.DataFrame]:
    """The ROC and precision-recall curves, each thinned to what a plot can show."""
    false_positive_rate, recall, _ = roc_curve(label, probability)
    precision, pr_recall, _ = precision_recall_curve(label, probability)
    return {
        "roc": _thinned(pd.DataFrame({"false_positive_rate": false_positive_rate, "recall": recall})),
        "precision_recall": _thinned(pd.DataFrame({"recall": pr_recall, "precision": precision})),
    }


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most CURVE_POINTS of a curve's points, evenly spaced along its length, including both ends."""
    length = np.concatenate([[0.0], np.cumsum(curve.diff().abs().sum(axis="columns").to_numpy()[1:])])
    kept = np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS))
    return curve.iloc[np.unique(np.append(kept, len(curve) - 1))]


def reliability(probability: Floats, label: Labels, groups: Positions | None = None) -> pd.DataFrame:
    """For each bin of equally many rows, the mean prediction and the observed rate with its 95 % interval."""
    bins = calibration_bins(probability)
    rows = pd.DataFrame({"bin": bins, "predicted": probability, "observed": label})
    table = rows.groupby("bin").agg(
        predicted=("predicted", "mean"), observed=("observed", "mean"), rows=("observed", "size")
    )
    bounds = [grouped_share_interval(label == 1, bins == number, groups) for number in table.index]
    table["low"], table["high"] = zip(*bounds, strict=True)
    return table.reset_index(drop=True)
