"""The prepare stage: check the declared data and write them as windows in time order; bad rows go into quarantine."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from training.data.checked_source import CheckedChunk, Source, check_source, open_source
from training.data.input_files import changed_files, read_as
from training.data.quarantine import QuarantineWriter
from training.data.set_aside import LinesByKind, joined_lines, set_aside_sentences
from training.data.split import UNLEARNED, WINDOWS
from training.data.window_writer import WindowWriter
from training.declaration import declared_scorer
from training.errors import DataError
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REPORTS, write_json
from training.run.progress import say


def prepare(chunks: Iterator[CheckedChunk], source: Source, folder: Path) -> dict[str, Any]:
    """Write the windows and the quarantine to a folder, and return a report on them.

    Raises DataError if too many rows are bad, or a window has only one class.
    """
    scorer = source.scorer
    writer = WindowWriter(folder, scorer)
    lines: LinesByKind = {}
    with QuarantineWriter(folder / "quarantine.csv", [part.name for part in source.parts]) as quarantine:
        for chunk in chunks:
            writer.add(chunk)
            quarantine.add(chunk)
            lines = joined_lines((lines, chunk.lines))
        for text in filter(None, (read_as(source.parts), *set_aside_sentences(lines, n_files=len(source.parts)))):
            say(f"{scorer.data}: {text}")
        for reread in source.rows_at(writer.repeated()) if writer.n_chunks > 1 and scorer.id else ():
            quarantine.add_repeated(reread, cast("str", scorer.id))
            writer.leave_out(reread.rows.index)
    quarantine.require_few_bad_rows(scorer)
    windows, warnings = writer.write_windows()
    return {
        "rows": quarantine.n_rows,
        "quarantined": {"rows": quarantine.n_bad, "reasons": dict(sorted(quarantine.counts.items()))},
        "windows": windows,
        "warnings": warnings,
    }


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder that is removed at the end; what a killed run left in it is removed first."""
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
        if changed := changed_files(source.parts):
            raise DataError(f"{', '.join(changed)} was changed while it was read; run prepare again")
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*(f"{window}.parquet" for window in (*WINDOWS, UNLEARNED)), "quarantine.csv"):
            Path(scratch, file).replace(folder / file)
    write_json(REPORTS / name / "rows.json", report)
    say(json.dumps(report, indent=1))
    for warning in report["warnings"]:
        say(f"WARNING: {warning}")


if __name__ == "__main__":
    run(main)
