"""The block of params.yaml suggested for a file: settings that suit its size, frauds and fields."""

import json

import numpy as np

from handler.scoring.contract import STRING_TYPES, DeclaredField, DerivedFeature
from training.data.split import FoldError, prequential_positions, window_bounds
from training.data.times import check_time
from training.errors import DataError, counted
from training.intake.infer import Inferred
from training.intake.time_column import MAX_BAD_TIMES
from training.params import Folds, Split
from training.run.matrix import Floats, Labels

HEADER = "# Made by `make try`: the scorer {name}, inferred from {source}.\n"
TEST = 0.2
MAX_SHARE = 0.01
# The share of the training window that the validation blocks cover: the usual one, or where that lacks frauds another.
VALIDATE_SHARES = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
# As many rows, or cells, to learn from in each fold take minutes on two cores.
FOLD_ROWS = 40_000
FOLD_CELLS = 2_000_000
FEWEST_FOLD_FRAUDS = 20
# With more, it is not for want of different times that a fold has no frauds.
FEW_TIMES = 50
SMOTE_RATIO = 0.1
SMOTE_ROWS = 200_000
# With more fields nearest neighbours mean little, and each trial takes long. (Fewer bins would be faster, but a bin
# that holds more rows than there are frauds hides them: average precision .72 -> .67 at 64 bins and 1.3 % frauds.)
WIDE = 100
TRIALS, WIDE_TRIALS = 10, 6
WIDTH = 24


def settings_for(inferred: Inferred) -> dict[str, str]:
    """The settings of a scorer as YAML, by key, with a comment where a setting follows from the file."""
    rows, label = inferred.rows, inferred.label
    seconds = check_time(rows[inferred.time]).dropna().sort_values(kind="stable")
    labels = rows[label].loc[seconds.index].to_numpy()
    declared, n_first = _folds(seconds.to_numpy(), labels, inferred.time)
    share = max(min(FOLD_ROWS / len(rows), FOLD_CELLS / rows.size), FEWEST_FOLD_FRAUDS / max(n_first, 1))
    sample = float(f"{min(1.0, share):.2g}")
    no_smote = _why_no_smote(inferred, n_first * sample)
    quarantine = f"{{max_share: {MAX_SHARE}}}"
    if inferred.bad_times > MAX_SHARE:
        quarantine = f"{{max_share: {MAX_BAD_TIMES}}}   # {inferred.bad_times:.1%} of the rows have no readable time"
    folds = f"{{count: {declared.count}, validate_share: {declared.validate_share:g}, sample: {sample:g}}}"
    return {
        "split": f"{{test: {TEST}}}   # the latest rows; add label_delay_days: how late labels arrive",
        "quarantine": quarantine,
        "compute": "{engine: local}",
        "folds": f"{folds}   # inside the training window",
        "resampling": f"{{method: none}}   # {no_smote}" if no_smote else f"{{method: smote, ratio: {SMOTE_RATIO}}}",
        "model": "{}   # what is set here is pinned, the rest is tuned",
        "tuning": f"{{mode: tpe, trials: {WIDE_TRIALS if len(inferred.fields) > WIDE else TRIALS}}}",
        "costs": "null   # {amount: <a money field with min: 0, required: true>, review: <what one alert costs>}",
        "decision": "{recall: 0.90}   # or precision, review_rate, cost",
        "seed": "7",
    }


def _folds(seconds: Floats, labels: Labels, time: str) -> tuple[Folds, int]:
    """The largest number of folds, 2 to 4, that all have frauds; and how many frauds the first one learns from.

    The folds are those of the training window that `prepare` cuts. Where the usual validation blocks have no frauds, as
    in a gap, they cover another share of it. Raises DataError where two blocks always lack frauds.
    """
    split = Split(test=TEST)
    windows = [(seconds >= start) & (seconds < end) for start, end in window_bounds(seconds, split).values()]
    times, frauds = seconds[windows[0]], labels[windows[0]]
    n_times = len(np.unique(seconds))
    if n_times > FEW_TIMES or all(0 < labels[window].sum() < window.sum() for window in windows):
        for share in VALIDATE_SHARES:
            for count in (4, 3, 2):
                declared = Folds(count=count, validate_share=share)
                try:
                    positions = prequential_positions(times, frauds, declared, 0.0)
                except FoldError:
                    continue
                if len(positions) == count:
                    return declared, int(frauds[positions[0][0]].sum())
    if n_times <= FEW_TIMES:
        raise DataError(
            f"TIME is {time}, which has {counted(n_times, 'different value')}; rows of one time stay together, "
            "and some window or fold has no frauds: name a finer column, or omit TIME if the rows are in order of time"
        )
    n_frauds = counted(int(frauds.sum()), "fraud")
    raise DataError(
        f"the rows to train on, the first {1 - TEST:.0%} of the file, have {n_frauds}, at too few times to compare "
        "models on two later parts of these rows that both have some: bring more frauds, or leave out the rows without "
        "any"
    )


def _why_no_smote(inferred: Inferred, n_frauds: float) -> str:
    """Why SMOTE does not suit a file, "" where it does."""
    label = inferred.rows[inferred.label]
    kinds = {field.type for field in inferred.fields.values()}
    if label.mean() >= SMOTE_RATIO * (1 - label.mean()):
        return f"no smote: {label.mean():.0%} of the rows are frauds"
    if len(label) > SMOTE_ROWS:
        return f"no smote: {len(label):,} rows; it takes long and seldom helps XGBoost"
    if len(inferred.fields) > WIDE:
        return f"no smote: with {len(inferred.fields)} fields nearest neighbours mean little"
    if n_frauds < FEWEST_FOLD_FRAUDS:
        return f"no smote: {counted(round(n_frauds), 'fraud')} in the first fold, too few to have neighbours"
    return "no smote: it needs a numeric field" if kinds <= set(STRING_TYPES) else ""


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
        "    entity: null",
        f"    time: {_key(inferred.time)}",
        f"    label: {_key(inferred.label)}",
        "    # No field is required: what callers always know cannot be inferred, and values may be missing.",
        "    fields:",
        *fields,
        *_features(inferred),
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


def _key(name: str) -> str:
    """A name as YAML, in quotes where YAML would read it as a boolean or null."""
    is_word = name.lower() in {"false", "n", "no", "null", "off", "on", "true", "y", "yes"}
    return json.dumps(name) if is_word else name


def _field_text(field: DeclaredField | DerivedFeature) -> str:
    given = field.model_dump(exclude_defaults=True)
    texts = {
        key: f"{v:g}" if isinstance(v, float) else _key(v) if isinstance(v, str) else v for key, v in given.items()
    }
    return "{" + ", ".join(f"{key}: {text}" for key, text in texts.items()) + "}"


def _comment(name: str, column: str) -> str:
    return "" if name == column else f"   # {json.dumps(column, ensure_ascii=False)} in the file"
