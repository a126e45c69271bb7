"""Score files: .csv or .parquet in, the same rows with the function's answers out.

`make score INPUT=payments.parquet OUTPUT=scored.parquet SCORER=transaction [REASONS=yes]`. INPUT may be a folder of
files; then OUTPUT is a folder too. For a scorer with a history, PAST=build/transaction/state.parquet, or a function's
history.db, gives what was known before the rows. Exit status 4: finished, but a larger share of the rows was rejected
than the scorer's `quarantine.max_share` allows.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow.parquet as pq

from handler.releases.store import StoreError
from handler.scoring.bundle import BundleError
from handler.settings import SETTINGS
from training.batch.answers import LISTED, decision_columns
from training.batch.checkpoint import STATE, discard, finished_chunks, run_folder
from training.batch.chunk import ScoringJob, score_chunk
from training.batch.input_columns import columns_by_field, decimal_fields, fraction_fields, unread_text
from training.batch.outputs import join_parts, join_rejected, move_to_targets, rejected_path, targets_of
from training.batch.past import complete_past, past_identity
from training.data.input_files import InputFile, changed_files, read_as, read_input_files
from training.data.row_reader import chunks_of, n_chunks
from training.data.set_aside import Lines, LinesByKind, joined_lines, set_aside_sentences
from training.declaration import declared_scorer
from training.delivery.serving import chosen_bundle, served_lists
from training.delivery.store_writer import open_store_writer
from training.errors import DataError, StageError
from training.params import Compute, Engine
from training.run.command import one_line_errors
from training.run.engine import workers_of
from training.run.processes import Task, Workers
from training.run.progress import say
from training.run.provenance import code_version

CHUNK_ROWS = 100_000
TOO_MANY_REJECTED = 4

Counts = dict[str, dict[str, Any]]
"""What `score_chunk` counted, by the name of the chunk."""


@dataclass(frozen=True)
class ScoreOptions:
    """What to score, with which scorer and version, and how."""

    scorer: str
    input: Path
    output: Path
    explain: bool = False
    version: str = ""
    store: str = "store"
    chunk_rows: int = CHUNK_ROWS
    engine: Engine | None = None
    """None: as the scorer declares it."""
    past: str = ""
    """For a scorer with a history: the file of what happened before the rows."""


@dataclass(frozen=True)
class ScoreResult:
    """The counts of a finished run, the version of its bundle, and how long it took."""

    rows: int
    flagged: int
    rejected: int
    reasons: Counter[str]
    """How many rows were rejected for each reason."""
    version: str
    lines: LinesByKind
    """The lines of the input that are not rows."""
    n_resumed: int
    """How many chunks an earlier run had finished."""
    seconds: float


def score_files(options: ScoreOptions) -> ScoreResult:
    """Score all rows of the input into the output, and return the counts of the run.

    Raises StageError, BundleError or StoreError if nothing is written. The finished chunks of a run that ends with an
    error are kept, and the next run resumes from them, unless the input has changed or has no rows.
    """
    begin = perf_counter()
    scorer, bundle = chosen_bundle(options.scorer, options.version, options.store)
    output = options.output.resolve()
    parts = read_input_files(options.input)
    store, key, public_keys = open_store_writer(options.store), SETTINGS.predictions_key, SETTINGS.store_public_key
    lists = served_lists(store, options.scorer, scorer.contract, key, public_keys)
    if lists:
        say(f"the lists {lists.version} of {store} are applied too")
    targets = targets_of(options.input, output, parts, (LISTED,) if lists else ())
    columns = columns_by_field(parts[0], scorer.contract)
    for text in (read_as(parts), unread_text(parts[0], columns, scorer.contract)):
        if text:
            say(f"{options.input}: {text}")
    if options.past and not scorer.past:
        raise StageError(f"PAST is {options.past}, but {options.scorer} has no history; leave it out")
    kind = targets[0].suffix.lower()
    state: dict[str, Any] = {
        "input": [[part.name, part.sha256] for part in parts],
        "kind": kind,
        "scorer": options.scorer,
        "version": scorer.version,
        "explain": options.explain,
        "chunk_rows": options.chunk_rows,
        "code": code_version(),
        "lists": lists and lists.version,
    }
    if scorer.past:
        state["past"] = past_identity(options.past)
        if not options.past:
            say(f"without PAST nothing is known of what happened before {options.input}")
    with run_folder(output, state, bundle) as run:
        fractions = fraction_fields(parts, columns, scorer.contract)
        decimals = decimal_fields(parts, columns, scorer.contract, options.chunk_rows)
        # Rows without a time get the one at which the run began, when the state was written: the same if it is resumed.
        now = (run / STATE).stat().st_mtime
        job = ScoringJob(
            run, kind, columns, fractions, options.explain, now, options.past, decimals, decision_columns(scorer), lists
        )
        with workers_of(Compute(engine=options.engine or declared_scorer(options.scorer).compute.engine)) as workers:
            workers.require_visible(job.run)
            first = _first_rows(options, parts, job, workers) if scorer.past else {}
            counts, n_resumed = _score_chunks(options, parts, job, workers, first)
        if changed := changed_files(parts):
            discard(output)
            raise DataError(f"{', '.join(changed)} was changed while it was scored; run the command again")
        totals = {key: sum(chunk[key] for chunk in counts.values()) for key in ("rows", "flagged", "rejected")}
        if not totals["rows"]:
            discard(output)
            raise DataError(f"{options.input} holds no rows")
        n_written = _join(job, parts, targets, counts)
        if totals["rows"] != n_written + totals["rejected"]:
            raise StageError(
                f"{totals['rows']:,} rows were read, but {n_written:,} were written and {totals['rejected']:,} rejected"
            )
        move_to_targets(run, targets, output)
        discard(output)
    reasons = sum((Counter(chunk["because"]) for chunk in counts.values()), Counter[str]())
    lines = joined_lines({kind: Lines(*first) for kind, first in chunk["lines"].items()} for chunk in counts.values())
    seconds = perf_counter() - begin
    return ScoreResult(
        **totals, reasons=reasons, version=scorer.version, lines=lines, n_resumed=n_resumed, seconds=seconds
    )


def _first_rows(
    options: ScoreOptions, parts: Sequence[InputFile], job: ScoringJob, workers: Workers
) -> Mapping[str, int]:
    """Write the file of the features of the past, and return the position of each chunk's first row in it."""
    past = complete_past(parts, options.chunk_rows, job, options.scorer, workers)
    if past.warning:
        say(f"WARNING: {past.warning}")
    return past.first


def _score_chunks(
    options: ScoreOptions,
    parts: Sequence[InputFile],
    job: ScoringJob,
    workers: Workers,
    first: Mapping[str, int],
) -> tuple[Counts, int]:
    """Score the unfinished chunks; the counts of every chunk, in order, and how many an earlier run had finished."""
    finished, sizes = finished_chunks(job.run), dict[str, int]()

    def tasks() -> Iterator[Task]:
        for chunk in chunks_of(parts, options.chunk_rows):
            sizes[chunk.name] = len(chunk.content)
            if chunk.name not in finished:
                yield score_chunk, chunk, parts[chunk.part], job, first.get(chunk.name)

    remaining = {
        "n_tasks": max(n_chunks(parts, options.chunk_rows) - len(finished), 1),
        "n_rows": sum(part.n_rows for part in parts) - sum(chunk["rows"] for chunk in finished.values()),
    }
    if finished:
        say(f"resuming: {len(finished):,} chunks were finished before")
    for _ in workers.spread(tasks(), "rows scored", **remaining, size=lambda chunk: int(chunk["rows"])):
        pass
    counts = finished_chunks(job.run)
    if wrong := [name for name, size in sizes.items() if counts.get(name, {}).get("rows") != size]:
        raise StageError(
            f"chunks {', '.join(wrong)} of {job.run} do not have as many rows as the input has there; delete that "
            "folder, and run the command again"
        )
    return {name: counts[name] for name in sizes}, len(finished)


def _join(job: ScoringJob, parts: Sequence[InputFile], targets: Sequence[Path], counts: Counts) -> int:
    """Join the chunks into whole files, still in the run's folder, and return how many rows these have."""
    n_rows = 0
    for index, (part, target) in enumerate(zip(parts, targets, strict=True)):
        names = [name for name in counts if name.startswith(f"{index:05}-")]
        joined = join_parts(job.run, part, target, names, job.further)
        if job.kind == ".parquet":
            n_rows += pq.read_metadata(joined).num_rows
        else:
            n_rows += sum(counts[name]["scored"] for name in names)
    join_rejected(job.run, parts[0], [name for name in counts if counts[name]["rejected"]])
    return n_rows


def summary(options: ScoreOptions, result: ScoreResult) -> str:
    """The lines that the command ends with: counts, version, pace, and the most frequent reasons for rejection."""
    # If the run was resumed, its seconds do not cover all rows.
    pace = "" if result.n_resumed else f" ({result.rows / result.seconds:,.0f} rows a second)"
    by = f"{options.scorer} {result.version}"
    lines = [
        f"{options.output}: {result.rows:,} rows by {by} in {result.seconds:.1f} s{pace}",
        f"  {result.flagged:,} flagged, {result.rejected:,} rejected",
    ]
    if result.rejected:
        lines += [f"  {reason}: {count:,}" for reason, count in result.reasons.most_common(10)]
        lines += [f"  {text}" for text in set_aside_sentences(result.lines, n_files=2 if options.input.is_dir() else 1)]
        lines += [f"  all rejected rows, with their reasons: {rejected_path(options.output)}"]
    return "\n".join(lines)


def _options() -> ScoreOptions:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.score", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("input", help="a .csv or .parquet file, or a folder of them")
    parser.add_argument("output", help="a .csv or .parquet file; a folder if the input is one")
    parser.add_argument("--reasons", nargs="?", const="yes", default="", choices=("yes", "no", ""))
    parser.add_argument(
        "--version", default="", help="a version of the store; by default its current one, or else the packaged one"
    )
    parser.add_argument("--store", default=os.environ.get("STORE") or "store")
    parser.add_argument("--chunk-rows", type=int, default=CHUNK_ROWS, help="how many rows are in memory at once")
    parser.add_argument("--past", default="", help="for a scorer with a history: state.parquet, or a history.db")
    parser.add_argument("--engine", choices=("local", "dask", ""), default="", help="by default as declared")
    arguments = parser.parse_args()
    if empty := [name.upper() for name in ("scorer", "input", "output") if not getattr(arguments, name)]:
        parser.error(f"{', '.join(empty)} must be given: make score INPUT=... OUTPUT=... SCORER=...")
    if arguments.chunk_rows < 1:
        parser.error(f"--chunk-rows is {arguments.chunk_rows}; it must be above 0")
    options = ScoreOptions(
        arguments.scorer,
        Path(arguments.input),
        Path(arguments.output),
        explain=arguments.reasons == "yes",
        version=arguments.version,
        store=arguments.store,
        chunk_rows=arguments.chunk_rows,
        past=arguments.past,
    )
    return replace(options, engine=arguments.engine or None)


def main() -> None:
    """Score what the command line names; exits with TOO_MANY_REJECTED if more rows are rejected than allowed."""
    options = _options()
    with one_line_errors(
        "score",
        *(BundleError, StoreError, OSError),
        place=f"in {options.output.resolve().parent}",
        chunk_rows="--chunk-rows",
        hint=", then run the command again; it resumes from the finished chunks if no option has changed",
    ):
        max_share = declared_scorer(options.scorer).quarantine.max_share
        result = score_files(options)
    say(summary(options, result))
    if result.rejected > max_share * result.rows:
        say(f"  more rows are rejected than quarantine.max_share of {options.scorer} allows, {max_share:.2%}")
        raise SystemExit(TOO_MANY_REJECTED)


if __name__ == "__main__":
    main()
