"""Prepare: the declared data -> checked rows in three windows of time, bad rows in quarantine with their reasons."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from training.data.input_files import changed
from training.data.quarantine import QuarantineWriter
from training.data.source import CheckedChunk, Source, check_source, open_source
from training.data.split import WINDOWS
from training.data.window_writer import WindowWriter
from training.declaration import declared_scorer
from training.errors import DataError
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REPORTS, write_json
from training.run.progress import say


def prepare(chunks: Iterator[CheckedChunk], source: Source, folder: Path) -> dict[str, Any]:
    """What there is to report, after the windows and the quarantine were written to a folder.

    Raises DataError where too many rows are bad, or a window has one class only.
    """
    scorer = source.scorer
    store = WindowWriter(folder, scorer)
    with QuarantineWriter(folder / "quarantine.csv", [part.path.name for part in source.parts]) as quarantine:
        for chunk in chunks:
            store.add(chunk)
            quarantine.add(chunk)
        for again in source.rows_at(store.repeated()) if store.n_chunks > 1 and scorer.id else ():
            quarantine.add_repeated(again, cast("str", scorer.id))
            store.leave_out(again.rows.index)
    quarantine.require_enough(scorer)
    windows, warnings = store.write_windows()
    return {
        "rows": quarantine.n_rows,
        "quarantined": {"rows": quarantine.n_bad, "reasons": dict(sorted(quarantine.counts.items()))},
        "windows": windows,
        "warnings": warnings,
    }


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for as long as the block lasts; what a killed run left there is gone first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(name: str) -> None:
    """Prepare one scorer's rows: `python -m training.prepare refund`."""
    scorer = declared_scorer(name)
    path, folder = Path(scorer.data), BUILD / name / "rows"
    with _scratch(BUILD / f".{name}-rows") as scratch, workers_of(scorer.compute) as workers:
        try:
            source = open_source(scorer)
            report = prepare(check_source(source, workers), source, scratch)
        except DataError as error:
            raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        if other := changed(source.parts):
            raise DataError(f"{', '.join(other)} was changed while it was read; run it again")
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*(f"{window}.parquet" for window in WINDOWS), "quarantine.csv"):
            Path(scratch, file).replace(folder / file)
    write_json(REPORTS / name / "rows.json", report)
    say(json.dumps(report, indent=1))
    for warning in report["warnings"]:
        say(f"WARNING: {warning}")


if __name__ == "__main__":
    run(main)
