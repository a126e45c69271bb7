"""Whether the best setting depends on how many rows tuning sees: the same trials on half of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.quality.sets import Line, window_of
from benchmarks.quality.steps import checked_set, sampled
from benchmarks.tables import table
from training.data.catalogue import read_catalogues
from training.data.split import split_by_time
from training.declaration import ScorerDeclaration
from training.evaluation.intervals import standard_error
from training.model.folds import training_folds
from training.params import Model, Resampling, Tuning
from training.run.progress import say
from training.tune import STARTUP_TRIALS, Trial, best_of, search


def trials_at(scorer: ScorerDeclaration, train: Any, sample: float) -> list[Trial]:  # noqa: ANN401 - rows
    """The trials of a search on folds with a share of the training rows."""
    scorer = scorer.model_copy(update={"folds": scorer.folds.model_copy(update={"sample": sample})})
    with window_of(train) as window:
        folds = training_folds(window, scorer, read_catalogues(scorer))
    return search(folds, scorer)


def tuning_rows(name: str, one_in: int, trials: int) -> Line:
    """The choice of tuning on half of the rows, and what that choice costs on the folds with all of them."""
    scorer, rows = checked_set(name, one_in)
    train = split_by_time(rows, scorer)["train"]
    # The settings of the first trials do not depend on other trials' results, so both searches try the same ones.
    trials = min(trials, STARTUP_TRIALS)
    changes = {"resampling": Resampling(method="none"), "model": Model(), "tuning": Tuning(mode="tpe", trials=trials)}
    scorer = scorer.model_copy(update=changes)
    sample = sampled(len(rows), scorer.folds).sample
    whole, half = (trials_at(scorer, train, share) for share in (sample, sample / 2))
    numbers = [finished.index(best_of(finished)) for finished in (whole, half)]
    losses = np.subtract(whole[numbers[0]].folds, whole[numbers[1]].folds)
    line = {"set": name, "rows": round(sample * len(train)), "trials": trials}
    line |= {"chosen": numbers[0] + 1, "chosen_by_half": numbers[1] + 1}
    line |= {"loss": float(losses.mean()), "standard_error": standard_error(losses)}
    say(f"{name}: {line}")
    return line


def all_tuning_rows(one_in: Mapping[str, int], trials: int) -> list[Line]:
    """The line of each set or shipped scorer, on one in `one_in` of its rows."""
    return [tuning_rows(name, of_them, trials) for name, of_them in one_in.items()]


def tuning_rows_table(report: Mapping[str, Any]) -> str:
    """Per set, both choices, and the loss of the one made on half of the rows."""
    rows = [
        [
            line["set"],
            f"{line['rows']:,}",
            f"{line['chosen']} of {line['trials']}",
            f"{line['chosen_by_half']} of {line['trials']}",
            f"{line['loss']:.4f} ± {line['standard_error']:.4f}",
        ]
        for line in report["tuning_rows"]["lines"]
    ]
    heading = ["set", "rows in the folds", "chosen trial", "chosen on half the rows", "average precision lost on half"]
    return table(heading, rows)
