"""Try: a file of anybody's -> a trained scorer in a folder outside the repository, and its block of params.yaml."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import pandas as pd

from training.declaration import PARAMS, RESERVED, SCORER_NAME, read_params
from training.errors import StageError
from training.intake.infer import infer
from training.intake.read_table import read_file
from training.intake.suggested_params import params_text, settings_for
from training.run.command import one_line_errors
from training.run.files import BUILD, BUNDLES, REPORTS, write_text, write_whole
from training.run.progress import say

STAGES = ("catalogue", "prepare", "select", "tune", "train", "calibrate", "evaluate", "baseline", "package", "card")
PROJECT = Path(__file__).parents[1]
USAGE = "make try DATA=payments.csv LABEL=is_fraud [TIME=created_at] [OUT=folder]"
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
# Below this a test window holds about six frauds, and every number is chance.
FEWEST_FRAUDS = 30


class TryError(StageError):
    """Raised when the folder for the results cannot be used, a file has too few frauds, or a stage fails."""


def scorer_name(path: Path) -> tuple[str, str]:
    """A scorer's name and route after a file's name, neither taken by the repository's own params.yaml."""
    stem = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")
    stem = (stem if re.match(SCORER_NAME, stem) else f"scorer_{stem}".rstrip("_"))[:50]
    declared = read_params(PROJECT / PARAMS).scorers
    taken = {part for name, one in declared.items() for part in (name, one.route, one.data)} | set(RESERVED)
    name, count = stem, 2
    while {name, f"/{name}", f"data/{name}.parquet"} & taken:
        name, count = f"{stem}_{count}", count + 1
    return name, f"/{name}"


def check_folder(folder: Path) -> str | None:
    """The scorer that a former try left in a folder; None where the folder is new.

    Raises TryError where it lies in the repository, or holds what is not a try's.
    """
    if folder.resolve().is_relative_to(PROJECT):
        raise TryError(f"OUT is {folder}, which is inside the repository; choose a folder outside")
    if folder.exists() and not folder.is_dir():
        raise TryError(f"OUT is {folder}, which is a file; choose a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return None
    declared = folder / PARAMS
    made = MADE_BY_TRY.match(declared.read_text(encoding="utf-8")) if declared.is_file() else None
    if not made:
        raise TryError(f"OUT is {folder}, which holds files that no try made; choose another folder, or empty this one")
    return made[1]


def remove_former(folder: Path, name: str) -> None:
    """Remove what a try wrote for a scorer, and nothing else."""
    for made in (BUILD / name, BUNDLES / name, REPORTS / name):
        shutil.rmtree(folder / made, ignore_errors=True)
    for file in (PARAMS, Path(LOG), Path("data", f"{name}.parquet")):
        (folder / file).unlink(missing_ok=True)


def run_stage(stage: str, name: str, folder: Path) -> None:
    """Run one stage in the folder, its lines shown as they come, its JSON only logged.

    Raises TryError with the stage's own sentence where it fails.
    """
    with (folder / LOG).open("a", encoding="utf-8") as log, tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        command = [sys.executable, "-m", f"training.{stage}", name]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(  # noqa: S603 - our own module, for a name of our own making
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        ) as running:
            for line in _without_json(_logged(running.stdout or (), log)):
                say(f"  {line}")
        errors.seek(0)
        message = errors.read().strip()
        log.write(message)
    if running.returncode:
        last = message.splitlines()[-1] if message else f"it ended with {running.returncode}"
        broke = f"{stage} broke ({last}); the whole message is in {folder / LOG}"
        raise TryError(broke if "Traceback" in message or not message else message)


def _logged(lines: Iterable[str], log: IO[str]) -> Iterable[str]:
    for line in lines:
        log.write(line)
        yield line.rstrip("\n")


def _without_json(lines: Iterable[str]) -> Iterable[str]:
    """The lines but for blank ones and for JSON, on one line or over several."""
    is_json = False
    for line in lines:
        is_json = is_json or line == "{"
        if not is_json and line.strip() and not (line.startswith("{") and line.endswith("}")):
            yield line
        is_json = is_json and line != "}"


def headline(name: str, folder: Path) -> str:
    """The headline metrics of the test window with their 95 % intervals, one a line."""
    metrics = json.loads((folder / REPORTS / name / "metrics.json").read_text())
    intervals = json.loads((folder / REPORTS / name / "intervals.json").read_text())
    lines = [f"{metrics['rows']:,} later rows with {metrics['frauds']:,} frauds, which no step before had seen:"]
    for metric in HEADLINE:
        low, high = intervals[metric]
        lines.append(f"  {metric:<20} {metrics[metric]:.3f}   (95 %: {low:.3f} to {high:.3f})")
    return "\n".join(lines)


def contents(name: str, folder: Path) -> str:
    """What is in the folder, and what makes it a scorer of the repository."""
    return f"""{folder}:
  {BUNDLES / name}: the bundle, which `make serve` and the function load
  {REPORTS / name}: the report; card.html shows it to people
  {PARAMS}: the block of this scorer, to be pasted below `scorers:` of the repository's {PARAMS}
  data/{name}.parquet: the rows, to be copied into the repository's data/
  {LOG}: what the stages said"""


def try_file(data: Path, label: str, time: str | None, out: Path | None) -> None:
    """Train a scorer on a file of anybody's, in a folder of its own.

    Raises StageError, with one sentence, where the file, its columns or the folder will not do.
    """
    rows, is_text = read_file(data)
    name, route = scorer_name(data)
    folder = out or PROJECT.parent / f"{name}-scorer"
    former = check_folder(folder)
    inferred = infer(rows, label, time, is_text=is_text)
    n_frauds = int(inferred.rows[inferred.label].sum())
    say(f"{data}: {len(rows):,} rows, {rows.shape[1]} columns, {n_frauds:,} frauds ({n_frauds / len(rows):.2%})")
    del rows
    for notice in inferred.notices:
        say(f"  {notice}")
    if time:
        first, last = inferred.rows[inferred.time].agg(["min", "max"])
        say(f"  {time}: from {first} to {last}")
    if n_frauds < FEWEST_FRAUDS:
        raise TryError(f"{data} has {n_frauds} frauds by LABEL {label}; a model needs at least {FEWEST_FRAUDS}")
    if former:
        remove_former(folder, former)
    path = folder / "data" / f"{name}.parquet"
    write_text(folder / PARAMS, params_text(name, route, data.name, inferred, settings_for(inferred)))
    write_whole(path, lambda target: inferred.rows.to_parquet(target, index=False))
    read_params(folder / PARAMS)
    kinds = pd.Series([field.type for field in inferred.fields.values()]).value_counts()
    say(f"{len(inferred.fields)} fields: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
    for stage in STAGES:
        say(f"{stage}:")
        run_stage(stage, name, folder)
    say(headline(name, folder))
    say(contents(name, folder))


def main(arguments: list[str] | None = None) -> None:
    """Try a file: `python -m training.try_file --data payments.csv --label is_fraud --time created_at`."""
    parser = argparse.ArgumentParser(description=__doc__, usage=USAGE)
    parser.add_argument("--data", default="", help="a .csv or .parquet file")
    parser.add_argument("--label", default="", help="a column of 0 and 1, or an expression: status == 'chargeback'")
    parser.add_argument("--time", default="", help="the column that says when; without it, rows count as in order")
    parser.add_argument("--out", default="", help="the folder for the results; ../<file>-scorer beside the checkout")
    given = parser.parse_args(arguments)
    if not given.data or not given.label:
        # From make an absent variable comes as an empty text.
        parser.error("DATA and LABEL are needed")
    with one_line_errors("try", OSError):
        try_file(Path(given.data), given.label, given.time or None, Path(given.out) if given.out else None)


if __name__ == "__main__":
    main()
