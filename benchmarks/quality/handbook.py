"""The handbook's published numbers beside ours: its own settings, this project's tuning, declared ratios and a history.

Le Borgne, Siblini, Lebichot, Bontempi (2022): chapter 3 has one test week, chapter 5 has four. Tuned parameters are
chosen on weeks whose labels were known before the first test week began, and then tested once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.quality.sets import PARAMS, Line, declared_set, window_of
from benchmarks.tables import table
from handler.scoring.fields import SECONDS_A_DAY
from training.data.catalogue import read_catalogues
from training.data.past_features import history_columns
from training.data.past_rows import past_rows
from training.data.window import Positions
from training.declaration import ScorerDeclaration, declared_scorer
from training.evaluation.entity_precision import precision_at_top
from training.evaluation.metrics import average_precision, rank, roc_auc
from training.model.candidates import CANDIDATES, SHIPPED, score
from training.model.folds import Fold, encode_folds
from training.params import Model
from training.run.processes import on_all_cores
from training.run.progress import say
from training.select import candidate_summary
from training.tune import best_of, describe_gain, search

TOP = 100
METRICS = ("roc_auc", "average_precision", f"card_precision_{TOP}")
# Day 0 of the data, whose times are seconds since its midnight.
FIRST_DAY = pd.Timestamp("2018-04-01")
WEEK_DAYS = 7
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
TITLES = {
    "chapter 3": "chapter 3, its settings",
    "chapter 5": "chapter 5 (four test weeks), its settings",
    "chapter 5, its best in hindsight": "chapter 5, its best settings in hindsight",
    "tuned": "chapter 5, this project's tuning alone",
    "ratios, with the best in hindsight": "five declared ratios, the best settings in hindsight",
    "ratios, tuned": "five declared ratios, this project's tuning",
    "history, with chapter 5's": "features of a history of customers and terminals, chapter 5's settings",
    "history, tuned": "features of a history of customers and terminals, this project's tuning",
}

Week = tuple[Fold, pd.DataFrame]
"""A test week's fold, and its rows."""


def weekly_positions(rows: pd.DataFrame, scorer: ScorerDeclaration, start: str) -> tuple[Positions, Positions]:
    """The positions of the training week that begins on `start`, and of the test week that follows the label delay.

    A test day leaves out the customers with a fraud, in the training week or later, that was known by that day: a card
    that was already caught does not count again.
    """
    day = rows[scorer.time] // SECONDS_A_DAY
    first = (pd.Timestamp(start) - FIRST_DAY).days
    delay = round(scorer.split.label_delay_days)
    tested_from = first + WEEK_DAYS + delay
    is_fraud = (rows[scorer.label] == 1) & (day >= first)
    fraud_day = day[is_fraud].groupby(rows[scorer.entity]).min()
    # For a customer without a fraud this is NaN, and the comparison is false.
    is_known = day >= rows[scorer.entity].map(fraud_day) + delay + 1
    learned = day.between(first, first + WEEK_DAYS, inclusive="left")
    tested = day.between(tested_from, tested_from + WEEK_DAYS, inclusive="left") & ~is_known
    return np.flatnonzero(learned), np.flatnonzero(tested)


def weekly_folds(rows: pd.DataFrame, scorer: ScorerDeclaration, starts: Sequence[str]) -> list[Fold]:
    """The folds, encoded as features, of the weeks whose training begins on these days."""
    positions = [weekly_positions(rows, scorer, start) for start in starts]
    with window_of(rows) as window:
        return encode_folds(window, positions, scorer, read_catalogues(scorer))


def tested_weeks(rows: pd.DataFrame, scorer: ScorerDeclaration) -> list[Week]:
    """Chapter 5's four test weeks; the first is chapter 3's."""
    tested = [rows.iloc[weekly_positions(rows, scorer, start)[1]] for start in TESTED]
    return list(zip(weekly_folds(rows, scorer, TESTED), tested, strict=True))


def judge(model: Model, week: Week, scorer: ScorerDeclaration) -> tuple[float, float, float]:
    """The METRICS of these parameters on a test week."""
    fold, rows = week
    unfitted = CANDIDATES[SHIPPED](scorer.model_copy(update={"model": model}), fold.train_label)
    scores = score(unfitted.fit(fold.train, fold.train_label), fold.validate)
    counts = rank(scores, fold.validate_label).counts()
    customer, seconds = (rows[str(name)].to_numpy() for name in (scorer.entity, scorer.time))
    cards = precision_at_top(customer, seconds, scores, fold.validate_label, TOP)
    return roc_auc(*counts), average_precision(*counts), cards


def measured_line(what: str, model: Model, weeks: Sequence[Week], scorer: ScorerDeclaration) -> Line:
    """The published numbers of a line, and ours: the mean over the weeks, and the spread if there are several."""
    judged = on_all_cores([(judge, model, week, scorer) for week in weeks], what)
    line: Line = {"measured": what}
    published = PUBLISHED.get(what, (None, None, None))
    for metric, expected, values in zip(METRICS, published, zip(*judged, strict=True), strict=True):
        spread = candidate_summary(values)["std"] if len(weeks) > 1 else None
        line |= {f"{metric}_published": expected, metric: float(np.mean(values)), f"{metric}_std": spread}
    return line


def tuned(rows: pd.DataFrame, scorer: ScorerDeclaration, trials: int) -> Model:
    """The parameters that this project's search chooses on the validation weeks."""
    tuning = scorer.tuning.model_copy(update={"trials": trials})
    folds = weekly_folds(rows, scorer, VALIDATED)
    searched = search(folds, scorer.model_copy(update={"tuning": tuning}))
    say(describe_gain(searched))
    return best_of(searched).model


def handbook(one_in: int, trials: int) -> list[Line]:
    """The numbers of chapters 3 and 5, then this project's tuning, without and with declared ratios, and a history."""
    plain, rows = declared_set("handbook", one_in)
    weeks = tested_weeks(rows, plain)
    ratios = declared_scorer("handbook_ratios", PARAMS)
    weeks_with_ratios = tested_weeks(rows, ratios)
    past, rows_with_past = past_of(one_in)
    weeks_with_past = tested_weeks(rows_with_past, past)
    return [
        measured_line("chapter 3", THEN, weeks[:1], plain),
        measured_line("chapter 5", CHAPTER_5, weeks, plain),
        measured_line("chapter 5, its best in hindsight", CHAPTER_5_BEST, weeks, plain),
        measured_line("tuned", tuned(rows, plain, trials), weeks, plain),
        measured_line("ratios, with the best in hindsight", CHAPTER_5_BEST, weeks_with_ratios, ratios),
        measured_line("ratios, tuned", tuned(rows, ratios, trials), weeks_with_ratios, ratios),
        measured_line("history, with chapter 5's", CHAPTER_5, weeks_with_past, past),
        measured_line("history, tuned", tuned(rows_with_past, past, trials), weeks_with_past, past),
    ]


def past_of(one_in: int) -> tuple[ScorerDeclaration, pd.DataFrame]:
    """The scorer with a history, and the rows with the features that it computes from the four raw columns."""
    scorer, rows = declared_set("handbook_history", one_in)
    if scorer.history is None:
        raise SystemExit("handbook_history declares no history")
    rows = rows.sort_values(scorer.time, kind="stable", ignore_index=True)
    texts = {name: rows[name].astype("str").astype(object) for name in scorer.keys}
    batches = pa.Table.from_pandas(rows.assign(**texts), preserve_index=False).to_batches()
    history = scorer.history.learned(scorer.split.label_delay_days, float(rows[scorer.label].mean()))
    columns = history_columns(past_rows(batches, history, scorer.time, scorer.label), history, scorer.fields)
    return scorer, rows.assign(**columns)


def handbook_table(report: Mapping[str, Any]) -> str:
    """The handbook's published numbers beside ours."""
    rows = []
    for line in report["handbook"]["lines"]:
        cells = [TITLES[line["measured"]]]
        for name in METRICS:
            published, spread = line[f"{name}_published"], line[f"{name}_std"]
            ours = f"{line[name]:.4f}" + ("" if spread is None else f" ± {spread:.3f}")
            cells.append(ours + ("" if published is None else f" (published {published:.3f})"))
        rows.append(cells)
    return table(["handbook protocol", "ROC AUC", "average precision", "card precision@100"], rows)
