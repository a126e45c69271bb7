"""How often the recall policy reaches its target on fresh rows, with its confidence bound and without."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import joblib
import numpy as np
import pandas as pd

from benchmarks.command import ROOT
from benchmarks.quality.sets import Line, existing
from benchmarks.tables import SCORERS, table
from training.declaration import ScorerDeclaration, read_declarations
from training.evaluation.calibration import calibrated
from training.evaluation.intervals import draw_weights
from training.evaluation.threshold import threshold_for
from training.model.fit import margins
from training.params import Decision
from training.run.files import BUILD
from training.run.progress import progress

TARGET = 0.9
# The bound promises a recall of at least TARGET on the population, for at least 95 % of the samples of calibration rows
# drawn from it. The left-out rows are a finite set of fresh frauds, which adds noise of its own.
FRESH = {
    "population": "the rows that the resamples are drawn from, for which the bound holds",
    "left-out rows": "the rows that a resample leaves out (few frauds, which adds noise)",
    "test window": "the later test window, in which the fraud has changed",
}
POLICIES = {"bound": Decision(recall=TARGET, confidence=0.95), "plain": Decision(recall=TARGET)}


def scored_rows(name: str, scorer: ScorerDeclaration) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Probabilities and labels of the calibration rows, scored by models of earlier rows, and of the test rows.

    Raises AbsentError if the scorer has not been trained.
    """
    folder = ROOT / BUILD / name
    files = ("calibration.parquet", "rows/test.parquet", "pipeline.joblib", "calibration.json")
    paths = [existing(folder / file, "run `make train`") for file in files]
    first, rows, pipeline = pd.read_parquet(paths[0]), pd.read_parquet(paths[1]), joblib.load(paths[2])
    calibration = json.loads(paths[3].read_text(encoding="utf-8"))["calibration"]
    scored = ((first["margin"].to_numpy(), first), (margins(pipeline, rows), rows))
    earlier, later = (
        pd.DataFrame({"probability": calibrated(margin, calibration), "label": labelled[scorer.label].to_numpy()})
        for margin, labelled in scored
    )
    return earlier, later


def draws(
    calibration: pd.DataFrame, test: pd.DataFrame, n_draws: int, seed: int
) -> Iterator[tuple[pd.DataFrame, dict[str, pd.DataFrame]]]:
    """Per draw, the rows on which a threshold is chosen, and the fresh rows by kind."""
    weights = draw_weights(calibration["label"].to_numpy(), n_draws, seed)
    for weight in progress(weights, "draws", total=n_draws):
        drawn = calibration.iloc[np.repeat(np.arange(len(weight)), weight.astype(int))]
        fresh = (calibration, calibration[weight == 0], test)
        yield drawn, dict(zip(FRESH, fresh, strict=True))


def recall_bound(n_draws: int) -> list[Line]:
    """Per declared scorer and kind of fresh rows, how often the recall reaches the target, and the mean alert rate."""
    measured = []
    for name, scorer in read_declarations().scorers.items():
        calibration, test = scored_rows(name, scorer)
        for drawn, fresh in draws(calibration, test, n_draws, scorer.seed):
            for policy, decision in POLICIES.items():
                threshold = threshold_for(drawn["probability"].to_numpy(), drawn["label"].to_numpy(), decision)
                for kind, rows in fresh.items():
                    is_flagged = rows["probability"] >= threshold
                    is_kept = is_flagged[rows["label"] == 1].mean() >= TARGET
                    measured.append((name, kind, policy, float(is_kept), is_flagged.mean()))
    keys = ["scorer", "fresh"]
    means = pd.DataFrame(measured, columns=[*keys, "policy", "kept", "alert_rate"]).pivot_table(
        index=keys, columns="policy", sort=False
    )
    means.columns = [f"{value}_{policy}" for value, policy in means.columns]
    return [{str(name): value for name, value in line.items()} for line in means.reset_index().to_dict("records")]


def recall_bound_table(report: Mapping[str, Any]) -> str:
    """How often the recall target is met on fresh rows, with the confidence bound and without."""
    lines = {(line["scorer"], line["fresh"]): line for line in report["recall_bound"]["lines"]}
    rows = [
        [title] + [f"{lines[scorer, fresh][f'kept_{kind}']:.1%}" for scorer in SCORERS for kind in POLICIES]
        for fresh, title in FRESH.items()
    ]
    heading = [f"{scorer}: {kind}" for scorer in SCORERS for kind in ("with the bound", "without")]
    return table(["fresh rows", *heading], rows)
