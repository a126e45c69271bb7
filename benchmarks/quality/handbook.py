"""The handbook's published numbers beside ours: its own settings, this project's tuning, and declared ratios.

Le Borgne, Siblini, Lebichot, Bontempi (2022): chapter 3, one test week, and chapter 5, four of them. What is tuned is
chosen on weeks whose labels were known before the first test week began, and then tested once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.quality.handbook_weeks import weekly_positions
from benchmarks.quality.part import Line, Part
from benchmarks.quality.sets import PARAMS, declared_set, window_of
from benchmarks.tables import table
from training.data.catalogue import read_catalogues
from training.data.window import Positions
from training.declaration import ScorerDeclaration, declared_scorer
from training.evaluation.entity_precision import precision_at_top
from training.evaluation.metrics import average_precision, rank, roc_auc
from training.model.candidates import CANDIDATES, SHIPPED, score
from training.model.folds import Fold, encode_folds
from training.params import Model
from training.run.progress import on_all_cores, say
from training.select import summary
from training.tune import best_of, describe_gain, search

TOP = 100
METRICS = ("roc_auc", "average_precision", f"card_precision_{TOP}")
# The first day of each training week. The last label of the last validation week is known on 2018-08-07.
VALIDATED = ("2018-06-20", "2018-06-27", "2018-07-04", "2018-07-11")
TESTED = ("2018-07-25", "2018-08-01", "2018-08-08", "2018-08-15")
# XGBoost's defaults when the handbook was written; base_score 0.5 is this project's own.
THEN = Model(
    rounds=100,
    max_depth=6,
    learning_rate=0.3,
    min_child_weight=1.0,
    subsample=1.0,
    colsample_bytree=1.0,
    reg_lambda=1.0,
    tree_method="exact",
)
CHAPTER_5 = THEN.model_copy(update={"rounds": 50, "max_depth": 3})
CHAPTER_5_BEST = THEN.model_copy(update={"max_depth": 3, "learning_rate": 0.1})
PUBLISHED = {
    "chapter 3": (0.862, 0.639, 0.273),
    "chapter 5": (0.872, 0.687, 0.303),
    "chapter 5, its best in hindsight": (None, 0.694, None),
}
TOLERANCE = 0.003
TITLES = {
    "chapter 3": "chapter 3, its settings",
    "chapter 5": "chapter 5 (four test weeks), its settings",
    "chapter 5, its best in hindsight": "chapter 5, its best settings in hindsight",
    "tuned": "chapter 5, this project's tuning alone",
    "ratios, with the best in hindsight": "five declared ratios, the best settings in hindsight",
    "ratios, tuned": "five declared ratios, this project's tuning",
}


@dataclass(frozen=True)
class Week:
    """A test week: its fold, and of each tested row the customer and the timestamp."""

    fold: Fold
    customer: npt.NDArray[np.object_]
    seconds: npt.NDArray[np.float64]


def tested_weeks(rows: pd.DataFrame, scorer: ScorerDeclaration) -> list[Week]:
    """Chapter 5's four test weeks; the first is chapter 3's."""
    positions = [weekly_positions(rows, scorer, start) for start in TESTED]
    folds = weekly_folds(rows, positions, scorer)
    columns = [rows[str(name)].to_numpy() for name in (scorer.entity, scorer.time)]
    return [
        Week(fold, *(column[tested] for column in columns)) for fold, (_, tested) in zip(folds, positions, strict=True)
    ]


def weekly_folds(
    rows: pd.DataFrame, positions: Sequence[tuple[Positions, Positions]], scorer: ScorerDeclaration
) -> list[Fold]:
    """The weeks at these positions as features."""
    with window_of(rows) as window:
        return encode_folds(window, positions, scorer, read_catalogues(scorer))


def judge(model: Model, week: Week, scorer: ScorerDeclaration) -> tuple[float, float, float]:
    """The METRICS of these parameters on a test week."""
    fold = week.fold
    unfitted = CANDIDATES[SHIPPED](scorer.model_copy(update={"model": model}), fold.train_label)
    scores = score(unfitted.fit(fold.train, fold.train_label), fold.validate)
    counts = rank(scores, fold.validate_label).counts()
    cards = precision_at_top(week.customer, week.seconds, scores, fold.validate_label, TOP)
    return roc_auc(*counts), average_precision(*counts), cards


def measured_line(what: str, model: Model, weeks: Sequence[Week], scorer: ScorerDeclaration) -> Line:
    """What was published under a name, and ours: the mean over weeks, and the spread where there are several."""
    judged = on_all_cores([(judge, model, week, scorer) for week in weeks], what)
    measured: Line = {"measured": what, "features": weeks[0].fold.train.shape[1], "weeks": len(weeks)}
    for metric, published, values in zip(
        METRICS, PUBLISHED.get(what, (None,) * len(METRICS)), zip(*judged, strict=True), strict=True
    ):
        of_weeks = summary(values) if len(weeks) > 1 else {"mean": values[0], "std": None}
        measured |= {f"{metric}_published": published, metric: of_weeks["mean"], f"{metric}_std": of_weeks["std"]}
    return measured


def tuned(rows: pd.DataFrame, scorer: ScorerDeclaration, trials: int) -> tuple[Model, str]:
    """The parameters that this project's search chooses on the validation weeks, and what it says of them."""
    positions = [weekly_positions(rows, scorer, start) for start in VALIDATED]
    tuning = scorer.tuning.model_copy(update={"trials": trials})
    folds = weekly_folds(rows, positions, scorer)
    searched = search(folds, scorer.model_copy(update={"tuning": tuning}))
    say(describe_gain(searched))
    return best_of(searched).model, describe_gain(searched)


def handbook(one_in: int, trials: int) -> Part:
    """Chapter 3's and chapter 5's numbers, then this project's tuning without and with declared ratios."""
    plain, rows = declared_set("handbook", one_in)
    ratios = declared_scorer("handbook_ratios", PARAMS)
    weeks = tested_weeks(rows, plain)
    lines = [
        measured_line("chapter 3", THEN, weeks[:1], plain),
        measured_line("chapter 5", CHAPTER_5, weeks, plain),
        measured_line("chapter 5, its best in hindsight", CHAPTER_5_BEST, weeks, plain),
    ]
    chosen, sentence = tuned(rows, plain, trials)
    lines.append(measured_line("tuned", chosen, weeks, plain))
    conclusions = [deviation(lines), f"tuned: {sentence}; {settings(chosen)}"]
    weeks = tested_weeks(rows, ratios)
    lines.append(measured_line("ratios, with the best in hindsight", CHAPTER_5_BEST, weeks, ratios))
    chosen, sentence = tuned(rows, ratios, trials)
    lines.append(measured_line("ratios, tuned", chosen, weeks, ratios))
    conclusions += [f"ratios, tuned: {sentence}; {settings(chosen)}", *(beside_the_best(row) for row in lines[3:])]
    return Part(lines, conclusions)


def settings(model: Model) -> str:
    """Parameters as text."""
    return ", ".join(f"{name} {value}" for name, value in model.model_dump(exclude={"threads"}).items())


def deviation(lines: Sequence[Line]) -> str:
    """One sentence: how far ours is from what was published under the same settings."""
    distances = {
        f"{metric} of {line['measured']}": abs(line[metric] - line[f"{metric}_published"])
        for line in lines
        for metric in METRICS
        if line[f"{metric}_published"] is not None
    }
    worst = max(distances, key=lambda name: distances[name])
    verdict = "within" if distances[worst] <= TOLERANCE else "BEYOND"
    return f"farthest from the published number is {worst}, by {distances[worst]:.4f}: {verdict} {TOLERANCE:g}"


def beside_the_best(line: Line) -> str:
    """One sentence: a line's average precision beside the best that was printed."""
    best, ours = PUBLISHED["chapter 5, its best in hindsight"][1], line["average_precision"]
    place = "above" if ours > best else "NOT above"
    spread = line["average_precision_std"]
    return f"{line['measured']}: average precision {ours:.4f} +- {spread:.4f}, {place} the best printed, {best:g}"


def handbook_table(report: Mapping[str, Any]) -> str:
    """The handbook's published numbers beside ours."""
    rows = []
    for line in report["handbook"]["lines"]:
        cells = [TITLES[line["measured"]]]
        for name in ("roc_auc", "average_precision", "card_precision_100"):
            published, spread = line[f"{name}_published"], line[f"{name}_std"]
            ours = f"{line[name]:.4f}" + ("" if spread is None else f" ± {spread:.3f}")
            cells.append(ours + ("" if published is None else f" (published {published:.3f})"))
        rows.append(cells)
    return table(["handbook protocol", "ROC AUC", "average precision", "card precision@100"], rows)
