"""The block of params.yaml suggested for a file: its name, and settings that suit its size, frauds and fields."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from handler.scoring.contract import DerivedFeature
from handler.scoring.fields import SECONDS_A_DAY, DeclaredField
from handler.scoring.history import Entity, HistoryFeature
from training.data.input_files import stem_of
from training.data.split import FoldError, prequential_positions, window_bounds
from training.data.times import check_time, timestamp_text
from training.declaration import RESERVED, SCORER_NAME, ScorerDeclaration
from training.errors import DataError, counted
from training.intake.infer import Inferred
from training.intake.time_column import MAX_BAD_TIMES
from training.params import Folds, Split
from training.run.matrix import Floats, Labels

HEADER = "# Made by `make try`: the scorer {name}, inferred from {source}.\n"
TEST = 0.2
MAX_SHARE = 0.01
# The share of the training window that the validation blocks cover: the usual one first, others if frauds are lacking.
VALIDATE_SHARES = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
# The most rows, and the most cells, of the training window that the folds learn from. Half as many rows chose the same
# parameters (`benchmarks.quality.tuning_rows`). The limit on cells leaves wide files fewer rows, to save time; its
# effect is not measured.
FOLD_ROWS = 150_000
FOLD_CELLS = 3_000_000
# With few frauds in the first fold, the parameters that win are often ones that lose on more rows (on ULB with 15, at a
# sixteenth of the rows). To reach this many frauds, the folds may learn from MOST_CELLS times the cells.
FEWEST_FOLD_FRAUDS, MOST_CELLS = 50, 5
# The work of tuning, in cells times trials: fewer trials if each is long. The first trial has the default parameters.
TUNING_WORK = 12_000_000
FEWEST_TRIALS, TRIALS = 3, 10
# With more columns, a trial with thousands of bins takes longer than all others together.
WIDE_COLUMNS = 100
# With more distinct times, a fold without frauds is not due to a lack of distinct times.
FEW_TIMES = 50
# A team can review one row in twenty at most. If frauds are rarer than RARE, one row in a hundred covers most of those
# that a model can find, and of one row in twenty at best a few in a hundred would be frauds.
REVIEW_RATE, RARE_REVIEW_RATE, RARE = 0.05, 0.01, 0.002
OTHER_POLICIES = "recall: 0.90, precision: 0.50, cost: lowest (needs costs) or another review_rate"
# For data in which more rows share the highest probability than a review_rate allows: a recall can always be reached.
RECALL_DECISION = "{recall: 0.90}   # or precision: 0.50, cost: lowest (needs costs) or a larger review_rate"
WIDTH = 24


def scorer_name(path: Path, declared: Mapping[str, ScorerDeclaration]) -> tuple[str, str]:
    """A scorer's name and route derived from a file's name, neither of them used by a declared scorer."""
    stem = re.sub(r"[^a-z0-9]+", "_", stem_of(path).lower()).strip("_")
    stem = (stem if re.match(SCORER_NAME, stem) else f"scorer_{stem}".rstrip("_"))[:50]
    taken = {part for name, scorer in declared.items() for part in (name, scorer.route, scorer.data)} | set(RESERVED)
    name, count = stem, 2
    while {name, f"/{name}", f"data/{name}.parquet"} & taken:
        name, count = f"{stem}_{count}", count + 1
    return name, f"/{name}"


def split_of(label_delay_days: float) -> Split:
    """The windows of a file whose labels become known `label_delay_days` later."""
    return Split(test=TEST, label_delay_days=label_delay_days)


def settings_for(inferred: Inferred, label_delay_days: float = 0.0) -> dict[str, str]:
    """The settings of a scorer as YAML, by key, with a comment if a setting follows from the file.

    Raises DataError if no folds have frauds in all their parts.
    """
    rows, label = inferred.rows, inferred.label
    seconds = check_time(rows[inferred.time]).dropna().sort_values(kind="stable")
    labels = rows[label].loc[seconds.index].to_numpy()
    warmup = inferred.history.warmup_days * SECONDS_A_DAY if inferred.history else 0.0
    declared, n_first = _folds(seconds.to_numpy(), labels, inferred.time, split_of(label_delay_days), warmup)
    n_rows = (1 - TEST) * len(rows)
    n_columns = len(inferred.fields) + (len(inferred.history.features) if inferred.history else 0)
    n_cells = n_rows * n_columns
    sample, trials = _sample_and_trials(n_rows, n_cells, n_first)
    quarantine = f"{{max_share: {MAX_SHARE}}}"
    if inferred.bad_times > MAX_SHARE:
        quarantine = f"{{max_share: {MAX_BAD_TIMES}}}   # {inferred.bad_times:.1%} of the rows have no readable time"
    split = f"{{test: {TEST}}}   # the latest rows; add label_delay_days: how late labels arrive"
    if label_delay_days:
        split = f"{{test: {TEST}, label_delay_days: {label_delay_days:g}}}   # the latest rows"
    folds = f"{{count: {declared.count}, validate_share: {declared.validate_share:g}, sample: {sample:g}}}"
    pinned = (["threads: 2"] if n_cells > FOLD_CELLS else []) + (["max_bin: 256"] if n_columns > WIDE_COLUMNS else [])
    model = f"{{{', '.join(pinned)}}}"
    return {
        "split": split,
        "quarantine": quarantine,
        "compute": "{engine: local}",
        "folds": f"{folds}   # inside the training window",
        "resampling": "{method: auto}   # what the folds find best: none, weights, undersampling or SMOTE",
        "model": f"{model}   # what is set here is pinned, the rest is tuned",
        "tuning": f"{{mode: tpe, trials: {trials}}}",
        "costs": "null   # {amount: <a money field with min: 0, required: true>, review: <what one alert costs>}",
        "decision": _decision(float(labels.mean())),
        "seed": "7",
    }


def _sample_and_trials(n_rows: float, n_cells: float, n_first: int) -> tuple[float, int]:
    """The share of the training rows that the folds learn from, and how many trials tuning has.

    `n_first` is the number of frauds in the training rows of the first fold.
    """
    within_work = min(FOLD_ROWS / n_rows, FOLD_CELLS / n_cells)
    with_frauds = min(FEWEST_FOLD_FRAUDS / max(n_first, 1), MOST_CELLS * FOLD_CELLS / n_cells)
    sample = float(f"{min(1.0, max(within_work, with_frauds)):.2g}")
    return sample, min(max(int(TUNING_WORK / (sample * n_cells)), FEWEST_TRIALS), TRIALS)


def _decision(fraud_rate: float) -> str:
    """The default decision policy of a new scorer, with the alternatives in a comment."""
    rate, why = REVIEW_RATE, "as many as a team could look at"
    if fraud_rate < RARE:
        rate, why = RARE_REVIEW_RATE, f"because only {fraud_rate:.2%} are frauds"
    return f"{{review_rate: {rate}}}   # flags at most {rate:.0%} of the rows, {why}; or {OTHER_POLICIES}"


def _folds(seconds: Floats, labels: Labels, time: str, split: Split, warmup: float) -> tuple[Folds, int]:
    """The largest number of folds, 2 to 4, that all have frauds; and how many frauds the first one learns from.

    The folds divide the training window that `prepare` cuts, without a history's warm-up, of `warmup` seconds. If the
    usual validation blocks lack frauds, for example in a gap, the blocks cover another share of the window. Raises
    DataError if even two blocks lack frauds whatever the share.
    """
    windows = [(seconds >= start) & (seconds < end) for start, end in window_bounds(seconds, split).values()]
    if warmup:
        windows[0] &= seconds >= seconds[0] + warmup
    times, frauds = seconds[windows[0]], labels[windows[0]]
    n_times = len(np.unique(seconds))
    if n_times > FEW_TIMES or all(0 < labels[window].sum() < window.sum() for window in windows):
        for share in VALIDATE_SHARES:
            for count in (4, 3, 2):
                declared = Folds(count=count, validate_share=share)
                try:
                    positions = prequential_positions(times, frauds, declared, split.label_delay_seconds, time)
                except FoldError:
                    continue
                # The earlier half of a block recalibrates the variants that `compare` measures on the later half.
                halves = [frauds[block[: len(block) // 2]] for _, block in positions]
                if len(positions) == count and all(0 < half.sum() < len(half) for half in halves):
                    return declared, int(frauds[positions[0][0]].sum())
    if n_times <= FEW_TIMES:
        first, last = (timestamp_text(float(seconds[place])).replace("T", " ") for place in (0, -1))
        raise DataError(
            f"TIME is {time}, which has {counted(n_times, 'different value')} ({first} to {last}); rows with the "
            "same time stay together, and at least four times with frauds are needed, one for the test and three for "
            "training and comparison: name a finer column, or omit TIME if the rows are in order of time"
        )
    n_frauds = counted(int(frauds.sum()), "fraud")
    raise DataError(
        f"the training rows, the first {1 - TEST:.0%} of the file, have {n_frauds} at too few times: models are "
        "compared on at least two later parts of these rows, and each part needs some; add rows with frauds, or leave "
        "out long periods without any"
    )


def params_text(name: str, route: str, source: str, inferred: Inferred, settings: dict[str, str]) -> str:
    """A params.yaml with one block, to be pasted below `scorers:` of the repository's own file."""
    width = min(max(map(len, inferred.fields)) + 3, WIDTH)
    fields = [
        f"      {f'{_key(field)}:':<{width}} {_field_text(declared)}" + _comment(field, inferred.columns[field])
        for field, declared in inferred.fields.items()
    ]
    lines = [
        "scorers:",
        f"  {name}:",
        f"    route: {route}",
        "    answer: probability",
        f"    data: data/{name}.parquet",
        "    id: null",
        f"    entity: {_entity(inferred)}",
        f"    time: {_key(inferred.time)}",
        f"    label: {_key(inferred.label)}",
        "    # No field is required: what callers always know cannot be inferred, and values may be missing.",
        "    fields:",
        *fields,
        *_features(inferred),
        *_history(inferred),
        *(f"    {key}: {value}" for key, value in settings.items()),
    ]
    return HEADER.format(name=name, source=json.dumps(source, ensure_ascii=False)) + "\n".join(lines) + "\n"


def _features(inferred: Inferred) -> list[str]:
    if not inferred.features:
        return ["    features: {}"]
    return [
        "    features:",
        *(f"      {_key(name)}: {_field_text(feature)}" for name, feature in inferred.features.items()),
    ]


def _entity(inferred: Inferred) -> str:
    """The key by which intervals draw rows together, as YAML; "null" if there is none."""
    entities = inferred.history.entities if inferred.history else ()
    return next((_key(name) for name in entities if inferred.fields[name].type == "key"), "null")


def _history(inferred: Inferred) -> list[str]:
    if not (history := inferred.history):
        return ["    history: null"]
    return [
        "    history:",
        f"      warmup_days: {history.warmup_days:g}",
        "      entities:",
        *(f"        {_key(name)}: {_field_text(entity)}" for name, entity in history.entities.items()),
        "      features:",
        *(f"        {_key(name)}: {_field_text(feature)}" for name, feature in history.features.items()),
    ]


def _key(name: str) -> str:
    """A name as YAML, in quotes where YAML would read it as a boolean or null."""
    is_word = name.lower() in {"false", "n", "no", "null", "off", "on", "true", "y", "yes"}
    return json.dumps(name) if is_word else name


def _field_text(field: DeclaredField | DerivedFeature | Entity | HistoryFeature) -> str:
    given = field.model_dump(mode="json", exclude_defaults=True)
    texts = {
        key: f"{v:g}" if isinstance(v, float) else _key(v) if isinstance(v, str) else v for key, v in given.items()
    }
    return "{" + ", ".join(f"{key}: {text}" for key, text in texts.items()) + "}"


def _comment(name: str, column: str) -> str:
    return "" if name == column else f"   # {json.dumps(column, ensure_ascii=False)} in the file"
