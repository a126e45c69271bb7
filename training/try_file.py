"""Train a scorer on a user's file in a folder outside the repository, with its own params.yaml."""

import argparse
import io
import json
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout
from importlib import import_module
from math import inf, nan
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from training.data.split import FEW_FRAUDS
from training.data.window import read_training
from training.declaration import PARAMS, ScorerDeclaration, declared_scorer, read_declarations
from training.errors import DataError, StageError, counted
from training.evaluation.intervals import share_interval
from training.evaluation.threshold import PolicyError
from training.intake.infer import Inferred, infer
from training.intake.label_times import check_label_times
from training.intake.proposed_history import Block, proposed_blocks, with_history_blocks
from training.intake.suggested_params import RECALL_DECISION, TEST, params_text, scorer_name, settings_for, split_of
from training.intake.user_file import read_user_file
from training.model.blocks import block_precisions, chosen_blocks
from training.model.folds import training_folds
from training.run.command import one_line_errors
from training.run.files import BUILD, BUNDLES, REPORTS, read_table, write_text, write_whole
from training.run.progress import say

STAGES = (
    "catalogue",
    "prepare",
    "compare",
    "select",
    "tune",
    "train",
    "calibrate",
    "evaluate",
    "baseline",
    "package",
    "card",
)
PROJECT = Path(__file__).parents[1]
USAGE = "make try DATA=payments.csv LABEL=is_fraud [TIME=created_at] [LABEL_DELAY=days] [OUT=folder]"
LOG = "stages.log"
MADE_BY_TRY = re.compile(r"# Made by `make try`: the scorer ([a-z][a-z0-9_]*), ")
HEADLINE = (
    "roc_auc",
    "average_precision",
    "recall_at_1pct_fpr",
    "precision",
    "recall",
    "false_positive_rate",
    "alert_rate",
)
# The operating points to show, by their aims in the report of thresholds.
POINTS = {
    "review_rate 0.01": "1 % of traffic",
    "review_rate 0.05": "5 % of traffic",
    "recall 0.9": "90 % of the frauds",
}


def check_folder(folder: Path) -> str | None:
    """The scorer that an earlier try left in a folder; None if the folder is new or empty.

    Raises StageError if it is inside the repository, or has files of another origin.
    """
    if folder.resolve().is_relative_to(PROJECT):
        raise StageError(f"OUT is {folder}, which is inside the repository; choose a folder outside")
    if folder.exists() and not folder.is_dir():
        raise StageError(f"OUT is {folder}, which is a file; choose a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return None
    declared = folder / PARAMS
    header = MADE_BY_TRY.match(declared.read_text(encoding="utf-8")) if declared.is_file() else None
    if not header:
        raise StageError(
            f"OUT is {folder}, which has files not written by `make try`; choose another folder, or empty it"
        )
    return header[1]


def remove_results(folder: Path, name: str) -> None:
    """Remove what a try wrote for a scorer, and nothing else."""
    for subfolder in (BUILD / name, BUNDLES / name, REPORTS / name):
        shutil.rmtree(folder / subfolder, ignore_errors=True)
    for file in (PARAMS, Path(LOG), Path("data", f"{name}.parquet")):
        (folder / file).unlink(missing_ok=True)


class StageOutput(io.TextIOBase):
    """The standard output of a stage: written to the log in full, and shown without blank lines and JSON."""

    def __init__(self, log: TextIO, screen: TextIO) -> None:
        """Write to the open log and to the screen."""
        self._log, self._screen = log, screen
        self._line, self._is_json = "", False

    def write(self, text: str) -> int:
        """Log a text, and show the lines that it completes."""
        self._log.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._is_json = self._is_json or line == "{"
            if not self._is_json and line.strip() and not (line.startswith("{") and line.endswith("}")):
                print(f"  {line}", file=self._screen, flush=True)
            self._is_json = self._is_json and line != "}"
        return len(text)


def run_stage(stage: str, name: str, folder: Path) -> None:
    """Run one stage in the folder of the tried file, and show its lines as they come.

    Raises StageError with the stage's own message if it fails, PolicyError if no threshold satisfies the policy.
    """
    # Imported by name: no module imports a command, and a stage's libraries are needed only when it runs.
    command = import_module(f"training.{stage}")
    path = folder / LOG
    with path.open("a", encoding="utf-8") as log:
        try:
            with chdir(folder), redirect_stdout(StageOutput(log, sys.stdout)), one_line_errors(f"{stage} {name}"):
                command.main(name)
        except SystemExit as error:
            log.write(f"{error}\n")
            if isinstance(error.__cause__, PolicyError):
                raise PolicyError(str(error)) from error
            raise StageError(str(error)) from error
        except Exception as error:
            log.write(traceback.format_exc())
            problem = f"{type(error).__name__}: {error}"
            raise StageError(f"{stage} failed ({problem}); the traceback is in {path}") from error


def run_stages(name: str, folder: Path, change_policy: Callable[[], str]) -> list[str]:
    """Run every stage; if no threshold keeps the policy, `change_policy` declares another and returns a warning."""
    warnings = []
    for stage in STAGES:
        say(f"{stage}:")
        try:
            run_stage(stage, name, folder)
        except PolicyError:
            warnings.append(change_policy())
            say(f"  {warnings[-1]}")
            run_stage(stage, name, folder)
    return warnings


def with_folds(inferred: Inferred, blocks: list[Block], label_delay_days: float) -> tuple[list[Block], dict[str, str]]:
    """The histories that can be tried for the file, and the settings with them.

    If the rows after the warm-up make no folds, no history can be tried, and a line says so. Raises DataError if the
    rows make no folds without a history either.
    """
    try:
        return blocks, settings_for(with_history_blocks(inferred, blocks), label_delay_days)
    except DataError:
        if not blocks or not inferred.fields:
            raise
    settings = settings_for(inferred, label_delay_days)
    say(
        f"no history of {', '.join(block.name for block in blocks)} is tried: it needs the first rows, and without "
        "these there are frauds at too few times to compare models; bring more frauds, or rows of a longer period"
    )
    return [], settings


def chosen_history(
    inferred: Inferred, blocks: Sequence[Block], name: str, folder: Path, declare: Callable[[Inferred], None]
) -> Inferred:
    """The tried file with those histories that help on the folds; prints what was tried.

    `declare` writes the declaration of a file with some histories. Raises StageError if nothing is left to learn from.
    """
    if not blocks:
        return inferred

    def declared(chosen: Sequence[str]) -> ScorerDeclaration:
        declare(with_history_blocks(inferred, [block for block in blocks if block.name in chosen]))
        return declared_scorer(name, folder / PARAMS)

    names = [block.name for block in blocks]
    say(f"histories of {', '.join(names)}:")
    every = declared(names)
    for stage in ("catalogue", "prepare"):
        run_stage(stage, name, folder)
    with chdir(folder):
        window, catalogue = read_training(every, name)
        folds = training_folds(window, every, catalogue)
    chance = np.array([fold.validate_label.mean() for fold in folds])
    gains = chosen_blocks(
        names,
        lambda chosen: block_precisions(folds, every, declared(chosen)) if chosen or inferred.fields else chance,
    )
    for gain in gains:
        verdict = "kept" if gain.is_kept else "left out, it gains too little"
        say(f"  {gain.block}: {verdict}, {gain.mean:+.4f} +- {gain.standard_error:.4f} average precision on the folds")
    kept = {gain.block for gain in gains if gain.is_kept}
    chosen = with_history_blocks(inferred, [block for block in blocks if block.name in kept])
    if not chosen.fields:
        raise StageError(f"no column is left to learn from, and no history of {', '.join(names)} helps")
    declare(chosen)
    return chosen


def headline_metrics(name: str, folder: Path) -> str:
    """The headline metrics of the tried file's test window with their 95 % intervals, one a line."""
    metrics = json.loads((folder / REPORTS / name / "metrics.json").read_text())
    intervals = json.loads((folder / REPORTS / name / "intervals.json").read_text())
    tested = f"{counted(metrics['rows'], 'later row')} with {counted(metrics['frauds'], 'fraud')}"
    lines = [f"{tested}, unseen in training and calibration:"]
    for metric in HEADLINE:
        low, high = intervals[metric]
        lines.append(f"  {metric:<20} {metrics[metric]:.3f}   (95 %: {low:.3f} to {high:.3f})")
    return "\n".join(lines)


def operating_points(name: str, folder: Path) -> str:
    """What three usual policies and the declared one do on the test window, one a line, and how to ask for another."""
    scorer = declared_scorer(name, folder / PARAMS)
    table = read_table(folder / REPORTS / name / "thresholds.csv").set_index("aim")
    policy, aim = next(item for item in scorer.decision.flagging.given.items() if item[0] != "confidence")
    lines = ["Thresholds chosen on earlier rows, by what to flag (95 % intervals in brackets):"]
    lines += [
        f"  {what:<19} {_described_point(table.loc[key], scorer)}" for key, what in POINTS.items() if key in table.index
    ]
    lines.append(
        f"The policy is {policy}: {aim}. For another, change `decision` in {folder / PARAMS}, paste the block into the "
        "repository's file, and run `dvc repro`."
    )
    return "\n".join(lines)


def _described_point(point: pd.Series, scorer: ScorerDeclaration) -> str:
    """Recall, precision, alerts and, if there is an amount, the money at one threshold."""
    shares = [
        f"{metric} {point[metric]:.3f} ({point[f'{metric}_low']:.3f} to {point[f'{metric}_high']:.3f})"
        for metric in ("recall", "precision")
    ]
    text = f"{', '.join(shares)}, flags {point['alert_rate']:.1%}"
    if not scorer.amount_field:
        return text
    unit = scorer.fields[scorer.amount_field].unit
    amount = f"{point['caught_amount_of_1000']:,.0f}{f' {unit}' if unit else ''}"
    caught = f"catches {amount} of the fraudulent {scorer.amount_field} in 1,000 requests"
    return f"{text}, {caught} ({point['caught_amount_share']:.0%} of it)"


def too_few_frauds(n_frauds: int) -> str:
    """The message for too few frauds in the tried file: how little they can show, and what to bring instead."""
    n_test = max(round(TEST * n_frauds), 1)
    low, _ = share_interval(n_test, n_test)
    return (
        f"a model needs at least {FEW_FRAUDS}. With {n_frauds}, about {n_test} would be in the latest fifth of the "
        f"rows, which tests the model; even if it caught all of these, its recall could be anything from {low:.0%} to "
        "100%. Bring rows of a longer period, or count more rows as fraud with another LABEL"
    )


def is_warning(notice: str) -> bool:
    """Whether a notice is a warning, which is repeated beside the metrics."""
    return "WARNING: " in notice


def data_warnings(name: str, folder: Path) -> list[str]:
    """The warnings in the report of prepare on the tried file, such as those of columns that give the label away."""
    report: dict[str, list[str]] = json.loads((folder / REPORTS / name / "rows.json").read_text())
    return report["warnings"]


def contents(name: str, folder: Path) -> str:
    """The files in the folder, and what to do with them to add the scorer to the repository."""
    return f"""{folder}:
  {BUNDLES / name}: the bundle; `BUNDLES={shlex.quote(str(folder.resolve() / BUNDLES))} make serve` serves it
  {REPORTS / name}: the reports; card.html is the model card
  {PARAMS}: the block of this scorer, to be pasted below `scorers:` of the repository's {PARAMS}
  data/{name}.parquet: the rows, to be copied into the repository's data/
  {LOG}: the output of the stages"""


def inferred_file(data: Path, label: str, time: str | None, label_delay_days: float) -> tuple[Inferred, list[str]]:
    """A user's file as a scorer's data, and the notices of periods without frauds; prints what was found in the file.

    Raises StageError if it has too few frauds.
    """
    rows, is_text, file_notices = read_user_file(data)
    inferred = infer(rows, label, time, is_text=is_text)
    n_rows, n_frauds = len(inferred.rows), int(inferred.rows[inferred.label].sum())
    labelled = f", {counted(n_rows, 'row')} to learn from" if n_rows < len(rows) else ""
    say(
        f"{data}: {counted(len(rows), 'row')}, {counted(rows.shape[1], 'column')}{labelled}, "
        f"{counted(n_frauds, 'fraud')} ({n_frauds / n_rows:.2%})"
    )
    for notice in (*file_notices, *inferred.notices):
        say(f"  {notice}")
    if n_frauds < FEW_FRAUDS:
        raise StageError(f"{data} has {counted(n_frauds, 'fraud')} by LABEL {label}; {too_few_frauds(n_frauds)}")
    gaps = check_label_times(inferred, split_of(label_delay_days), has_time=time is not None)
    for gap in gaps:
        say(f"  {gap}")
    return inferred, gaps


def try_file(data: Path, label: str, time: str | None, out: Path | None, label_delay_days: float = 0.0) -> None:
    """Train a scorer on a user's file in a folder of its own; labels are known `label_delay_days` after their rows.

    Raises StageError, with one sentence, if the file, its columns or the folder cannot be used.
    """
    name, route = scorer_name(data, read_declarations(PROJECT / PARAMS).scorers)
    folder = out or PROJECT.parent / f"{name}-scorer"
    earlier = check_folder(folder)
    inferred, gaps = inferred_file(data, label, time, label_delay_days)
    blocks = proposed_blocks(inferred, label_delay_days)
    if not with_history_blocks(inferred, blocks).fields:
        raise StageError("no column is left to learn from: " + "; ".join(inferred.notices))
    blocks, settings = with_folds(inferred, blocks, label_delay_days)
    every = with_history_blocks(inferred, blocks)
    if earlier:
        remove_results(folder, earlier)
    path = folder / "data" / f"{name}.parquet"

    def declare(chosen: Inferred) -> None:
        """Write the declaration of the file with some histories, and its rows if their columns have changed."""
        if not path.exists() or set(pq.read_schema(path).names) != set(chosen.rows):
            write_whole(path, lambda target: chosen.rows.to_parquet(target, index=False))
        write_text(folder / PARAMS, params_text(name, route, data.name, chosen, settings))

    declare(every)
    read_declarations(folder / PARAMS)
    kinds = pd.Series([field.type for field in inferred.fields.values()]).value_counts()
    say(f"{counted(len(inferred.fields), 'field')}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))

    def change_policy() -> str:
        """Declare a recall, which some threshold always reaches, and return a warning that says so."""
        former, settings["decision"] = settings["decision"].partition("   ")[0], RECALL_DECISION
        declare(chosen)
        return (
            f"WARNING: no threshold satisfies the policy {former}, because more rows than that share the highest "
            "probability; the policy is recall: 0.90 instead, which may flag many rows"
        )

    try:
        chosen = chosen_history(inferred, blocks, name, folder, declare)
        if every.history and not chosen.history:
            # Without a warm-up there are more rows to train on, so the folds change.
            settings |= settings_for(chosen, label_delay_days)
            declare(chosen)
        changes = run_stages(name, folder, change_policy)
    except StageError as error:
        # Users know their own file, not the copy that the stages read.
        raise StageError(str(error).replace(f"data/{name}.parquet", str(data))) from error
    warnings = [*filter(is_warning, (*inferred.notices, *gaps)), *changes, *data_warnings(name, folder)]
    for warning in dict.fromkeys(warnings):
        say(f"WARNING: {warning.removeprefix('WARNING: ')}")
    say(headline_metrics(name, folder))
    say(operating_points(name, folder))
    say(contents(name, folder))


def read_delay(text: str) -> float:
    """The days of LABEL_DELAY, as typed for `make try`, 0 by default; raises StageError if it is no number of days."""
    try:
        days = float(text or 0)
    except ValueError:
        days = nan
    if not 0 <= days < inf:
        raise StageError(
            f"LABEL_DELAY is {text}; it must be the number of days after which labels are known, such as 7"
        )
    return days


def main(arguments: list[str] | None = None) -> None:
    """Try a file: `python -m training.try_file --data payments.csv --label is_fraud --time created_at`."""
    parser = argparse.ArgumentParser(description=__doc__, usage=USAGE)
    parser.add_argument("--data", default="", help="a .csv or .parquet file")
    parser.add_argument("--label", default="", help="a column of 0 and 1, or an expression: status == 'chargeback'")
    parser.add_argument("--time", default="", help="the column with the time of each row; without it, row order counts")
    parser.add_argument("--label-delay", default="", help="after how many days labels are known; by default at once")
    parser.add_argument("--out", default="", help="the folder for the results; by default ../<file>-scorer")
    options = parser.parse_args(arguments)
    if not options.data or not options.label:
        # Make passes an absent variable as an empty string.
        parser.error("DATA and LABEL are needed")
    with one_line_errors("try", OSError):
        try_file(
            Path(options.data),
            options.label,
            options.time or None,
            Path(options.out) if options.out else None,
            read_delay(options.label_delay),
        )


if __name__ == "__main__":
    main()
