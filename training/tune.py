"""Search the parameters that `model` leaves open on the prequential folds of the training window."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import optuna
import pandas as pd
from sklearn.model_selection import ParameterGrid

from training.data.window import read_training
from training.declaration import ScorerDeclaration
from training.evaluation.intervals import is_within_standard_errors, standard_error
from training.model.chosen import chosen_scorer
from training.model.early_stopping import fit_folds
from training.model.folds import Fold, resample_folds, training_folds
from training.params import TUNED, Model
from training.run.command import run
from training.run.files import BUILD, REPORTS, rounded_floats, write_json, write_table, write_text
from training.run.progress import progress, say

Suggest = Callable[[optuna.Trial], int | float]
# No wider than for models that the function explains in about a millisecond.
SPACE: dict[str, Suggest] = {
    "max_depth": lambda trial: trial.suggest_int("max_depth", 2, 7),
    "min_child_weight": lambda trial: trial.suggest_float("min_child_weight", 0.1, 20, log=True),
    "subsample": lambda trial: trial.suggest_float("subsample", 0.5, 1),
    "colsample_bytree": lambda trial: trial.suggest_float("colsample_bytree", 0.4, 1),
    "reg_lambda": lambda trial: trial.suggest_float("reg_lambda", 0.1, 30, log=True),
    # Few bins cannot separate frauds with similar values: on the handbook's data 256 bins cost 0.04.
    "max_bin": lambda trial: trial.suggest_categorical("max_bin", [256, 1024, 4096]),
}
STARTUP_TRIALS = 8
# In standard errors. One is too few: of several settings that are only as good as the default, the luckiest is ahead of
# it by one standard error more often than not.
CLEAR_LEAD = 2.0


@dataclass(frozen=True)
class Trial:
    """One setting of the parameters, with its number of trees, and its average precision on each fold."""

    model: Model
    folds: tuple[float, ...]
    is_reference: bool = False
    """Whether this is the declared model, which with mode grid is only a reference and not in the grid."""

    @property
    def mean(self) -> float:
        """The mean over the folds, rounded as it is reported, so that the search is the same on every processor."""
        return float(rounded_floats(float(np.mean(self.folds))))


def trial_of(model: Model, folds: Sequence[Fold], scorer: ScorerDeclaration, *, is_reference: bool = False) -> Trial:
    """Fit a setting on the folds, and return its trial."""
    fits = fit_folds(folds, scorer, model)
    return Trial(model.model_copy(update={"rounds": fits.rounds}), fits.precisions, is_reference)


def searched_parameters(scorer: ScorerDeclaration) -> list[str]:
    """The parameters that are searched: what the grid lists, or all that `model` does not pin."""
    if scorer.tuning.mode == "grid":
        return sorted(scorer.tuning.grid)
    if scorer.tuning.mode == "none":
        return []
    fixed = scorer.model.pinned | ({"max_bin"} if scorer.model.tree_method == "exact" else set())
    return [name for name in TUNED if name not in fixed]


def trials(folds: Sequence[Fold], scorer: ScorerDeclaration) -> Iterator[Trial]:
    """The trials, in turn; the first is the declared model with the defaults for what it leaves open.

    The folds' training rows are used as they are; resample them first if that is declared.
    """
    if scorer.tuning.mode == "tpe" and searched_parameters(scorer):
        yield from _tpe(folds, scorer)
        return
    grid = list(ParameterGrid(scorer.tuning.grid)) if scorer.tuning.grid else []
    yield trial_of(scorer.model, folds, scorer, is_reference=bool(grid))
    for setting in grid:
        yield trial_of(scorer.model.model_copy(update=setting), folds, scorer)


def n_trials(scorer: ScorerDeclaration) -> int:
    """The number of settings that the tuning goes through."""
    if scorer.tuning.mode == "tpe" and searched_parameters(scorer):
        return scorer.tuning.trials
    return 1 + (len(ParameterGrid(scorer.tuning.grid)) if scorer.tuning.grid else 0)


def _tpe(folds: Sequence[Fold], scorer: ScorerDeclaration) -> Iterator[Trial]:
    """Trials by the tree-structured Parzen estimator (Bergstra 2011)."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=scorer.seed, n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    names = searched_parameters(scorer)
    study.enqueue_trial({name: getattr(scorer.model, name) for name in names})
    for _ in range(scorer.tuning.trials):
        suggestion = study.ask()
        # Four digits, because the last bits of the sampler's arithmetic differ between processors.
        setting = {name: _shortened(SPACE[name](suggestion)) for name in names}
        trial = trial_of(scorer.model.model_copy(update=setting), folds, scorer)
        study.tell(suggestion, trial.mean)
        yield trial


def _shortened(value: float) -> int | float:
    return value if isinstance(value, int) else float(f"{value:.4g}")


def search(folds: Sequence[Fold], scorer: ScorerDeclaration) -> list[Trial]:
    """Run all trials, print each new best, and return them in order; only a declared time limit stops them early."""
    finished: list[Trial] = []
    limit = scorer.tuning.time_limit_minutes
    start = time.monotonic()
    for trial in progress(trials(folds, scorer), "trials", total=n_trials(scorer)):
        finished.append(trial)
        if best_of(finished) is trial:
            say(f"trial {len(finished)}: average precision {trial.mean:.4f}, the best so far")
        if limit and time.monotonic() - start > 60 * limit:
            say(f"stopped after {limit:g} minutes, as declared; another machine may stop at another trial")
            break
    return finished


def eligible(finished: Sequence[Trial]) -> list[Trial]:
    """The trials that may be chosen: all but the reference, or the reference if no other has finished."""
    return [trial for trial in finished if not trial.is_reference] or [*finished[:1]]


def best_of(finished: Sequence[Trial]) -> Trial:
    """The first trial, unless the one with the highest mean over the folds beats it by CLEAR_LEAD standard errors.

    With mode grid the first trial is only a reference, and the best setting of the grid is taken.
    """
    best = max(eligible(finished), key=lambda trial: trial.mean)
    if finished[0].is_reference or best is finished[0]:
        return best
    gains = np.subtract(best.folds, finished[0].folds)
    return finished[0] if is_within_standard_errors(gains, CLEAR_LEAD) else best


def describe_gain(finished: Sequence[Trial]) -> str:
    """One sentence on the gain of the search over the defaults, beside its standard error over folds."""
    chosen, default = best_of(finished), finished[0]
    if len(finished) == 1:
        return f"nothing was searched; the declared and default values have average precision {chosen.mean:.4f}"
    best = max(eligible(finished), key=lambda trial: trial.mean)
    if best is default:
        return f"none of {len(finished):,} trials is better than the default values; they stay"
    gains = np.subtract(best.folds, default.folds)
    compared = "declared" if default.is_reference else "default"
    gain = f"{gains.mean():+.4f} +- {standard_error(gains):.4f} over the {compared} values"
    trial = f"trial {finished.index(best) + 1} of {len(finished):,} has average precision {best.mean:.4f}, {gain}"
    if default.is_reference and gains.mean() < 0:
        return f"{trial}: the best of the grid is taken, although the declared values, which it lacks, are better"
    if chosen is default:
        return f"{trial}: within {CLEAR_LEAD:g} standard errors, so the default values stay"
    return f"{trial}, measured on the folds that chose it"


def main(name: str) -> None:
    """Tune one scorer's model: `python -m training.tune refund`."""
    scorer = chosen_scorer(name)
    window, catalogue = read_training(scorer, name)
    folds = resample_folds(training_folds(window, scorer, catalogue), scorer)
    finished = search(folds, scorer)
    best = best_of(finished)
    report = {
        "mode": scorer.tuning.mode,
        "searched": searched_parameters(scorer),
        "best": finished.index(best) + 1,
        "verdict": describe_gain(finished),
        "model": best.model.model_dump(),
        "trials": [
            {
                "average_precision": trial.mean,
                "folds": trial.folds,
                "rounds": trial.model.rounds,
                **{parameter: getattr(trial.model, parameter) for parameter in searched_parameters(scorer)},
            }
            for trial in finished
        ],
    }
    best_so_far = list(accumulate((trial.mean for trial in eligible(finished)), max))
    # A reference comes first, and gets no row in the table.
    numbers = range(len(finished) - len(best_so_far) + 1, len(finished) + 1)
    table = pd.DataFrame({"trial": numbers, "best_average_precision": best_so_far})
    write_table(REPORTS / name / "tuning.csv", table)
    write_json(REPORTS / name / "tuning.json", report)
    write_text(BUILD / name / "tuned.json", best.model.model_dump_json(indent=1) + "\n")
    say(best.model.model_dump_json())
    say(describe_gain(finished))


if __name__ == "__main__":
    run(main)
