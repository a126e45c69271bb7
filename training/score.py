"""Score files: .csv or .parquet in, the same rows with the function's answers out.

`make score INPUT=payments.parquet OUTPUT=scored.parquet SCORER=transaction [REASONS=yes]`. INPUT may be a folder of
files, then OUTPUT is one too. Exit status 4: finished, but of the rows more were rejected than the scorer's
`quarantine.max_share` allows.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow.parquet as pq

from handler.releases.store import StoreError
from handler.scoring.bundle import BundleError
from training.batch.checkpoint import discard, finished_chunks, run_folder, work_folder
from training.batch.chunk import ScoringJob, columns_of, fractions_of, score_chunk
from training.batch.outputs import join_parts, join_rejected, put_in_place, rejected_path, targets_of
from training.data.chunks import chunks_of, n_chunks
from training.data.input_files import InputError, InputFile, changed, read_input_files
from training.declaration import declared_scorer
from training.delivery.serving import chosen_bundle
from training.errors import StageError
from training.params import Compute, Engine
from training.run.command import FULL
from training.run.engine import workers_of
from training.run.processes import Task
from training.run.progress import say
from training.run.provenance import code_version

CHUNK_ROWS = 100_000
TOO_MANY_REJECTED = 4


@dataclass(frozen=True)
class ScoreOptions:
    """What is to be scored, by what, and how."""

    scorer: str
    input: Path
    output: Path
    explain: bool = False
    version: str = ""
    store: str = "store"
    chunk_rows: int = CHUNK_ROWS
    engine: Engine | None = None
    """None: as the scorer declares it."""


def score_files(asked: ScoreOptions) -> dict[str, Any]:
    """What came of it: the counts of rows (of which scored, flagged, rejected and why), the version, the seconds.

    Raises StageError, BundleError or StoreError where nothing is written; what is finished of a run that an error
    ends is kept, and the next one goes on from there.
    """
    begin = perf_counter()
    scorer, bundle = chosen_bundle(asked.scorer, asked.version, asked.store)
    output = asked.output.resolve()
    parts = read_input_files(asked.input)
    targets = targets_of(asked.input, output, parts)
    columns = columns_of(parts[0], scorer.contract)
    kind = targets[0].suffix.lower()
    state = {
        "input": [[part.path.name, part.sha256] for part in parts],
        "kind": kind,
        "scorer": asked.scorer,
        "version": scorer.version,
        "explain": asked.explain,
        "chunk_rows": asked.chunk_rows,
        "code": code_version(),
    }
    with run_folder(output, state, bundle) as run:
        fractions = fractions_of(parts, columns, scorer.contract)
        job = ScoringJob(run, kind, columns, fractions, asked.explain)
        told, n_again = _scored(asked, parts, job)
        if other := changed(parts):
            discard(output)
            raise InputError(f"{', '.join(other)} was changed while it was scored; run it again")
        totals = {key: sum(one[key] for one in told.values()) for key in ("rows", "scored", "flagged", "rejected")}
        if not totals["rows"]:
            discard(output)
            raise InputError(f"{asked.input} holds no rows")
        written = _join(job, parts, targets, told)
        if totals["rows"] != written + totals["rejected"]:
            raise StageError(f"of {totals['rows']:,} rows {written:,} were written, {totals['rejected']:,} rejected")
        put_in_place(run, targets, output)
        discard(output)
    because = sum((Counter(one["because"]) for one in told.values()), Counter())
    return {
        **totals,
        "because": because,
        "version": scorer.version,
        "again": n_again,
        "seconds": perf_counter() - begin,
    }


def _scored(asked: ScoreOptions, parts: Sequence[InputFile], job: ScoringJob) -> tuple[dict[str, dict[str, Any]], int]:
    """What there is to tell of each chunk, in order, and how many of them an earlier run had finished."""
    finished, sizes = finished_chunks(job.run), dict[str, int]()

    def tasks() -> Iterator[Task]:
        for chunk in chunks_of(parts, asked.chunk_rows):
            sizes[chunk.name] = len(chunk.content)
            if chunk.name not in finished:
                yield score_chunk, chunk, parts[chunk.part], job

    left = {
        "n_tasks": max(n_chunks(parts, asked.chunk_rows) - len(finished), 1),
        "n_rows": sum(part.n_rows for part in parts) - sum(told["rows"] for told in finished.values()),
    }
    if finished:
        say(f"going on: {len(finished):,} chunks were finished before")
    with workers_of(Compute(engine=asked.engine or declared_scorer(asked.scorer).compute.engine)) as workers:
        workers.require_seen(job.run)
        for _ in workers.spread(tasks(), "rows scored", **left, size=lambda told: int(told["rows"])):
            pass
    told = finished_chunks(job.run)
    if wrong := [name for name, size in sizes.items() if told.get(name, {}).get("rows") != size]:
        raise StageError(f"chunks {', '.join(wrong)} of {job.run} are not what the input has there")
    return {name: told[name] for name in sizes}, len(finished)


def _join(job: ScoringJob, parts: Sequence[InputFile], targets: Sequence[Path], told: dict[str, dict[str, Any]]) -> int:
    """How many rows are in the whole files that the chunks were joined to, still in the run's folder."""
    n_rows = 0
    for index, (part, target) in enumerate(zip(parts, targets, strict=True)):
        names = [name for name in told if name.startswith(f"{index:05}-")]
        joined = join_parts(job.run, part, target, names, explain=job.explain)
        if job.kind == ".parquet":
            n_rows += pq.read_metadata(joined).num_rows
        else:
            n_rows += sum(told[name]["scored"] for name in names)
    join_rejected(job.run, parts[0], [name for name in told if told[name]["rejected"]])
    return n_rows


def summary(asked: ScoreOptions, found: dict[str, Any]) -> str:
    """What whoever asked wants to read."""
    pace = "" if found["again"] else f" ({found['rows'] / found['seconds']:,.0f} rows a second)"
    by = f"{asked.scorer} {found['version']}"
    lines = [
        f"{asked.output}: {found['rows']:,} rows by {by} in {found['seconds']:.1f} s{pace}",
        f"  {found['flagged']:,} flagged, {found['rejected']:,} rejected",
    ]
    if found["rejected"]:
        lines += [f"  {what}: {count:,}" for what, count in found["because"].most_common(10)]
        lines += [f"  all of them, with their reasons: {rejected_path(asked.output)}"]
    return "\n".join(lines)


def _asked() -> ScoreOptions:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.score", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("input", help="a .csv or .parquet file, or a folder of them")
    parser.add_argument("output", help="a .csv or .parquet file; a folder where the input is one")
    parser.add_argument("--reasons", nargs="?", const="yes", default="", choices=("yes", "no", ""))
    parser.add_argument("--version", default="", help="of the store; else its current one, else the packaged one")
    parser.add_argument("--store", default=os.environ.get("STORE") or "store")
    parser.add_argument("--chunk-rows", type=int, default=CHUNK_ROWS, help="how many rows are in memory at once")
    parser.add_argument("--engine", choices=("local", "dask", ""), default="", help="else as the scorer declares it")
    given = parser.parse_args()
    if empty := [name.upper() for name in ("scorer", "input", "output") if not getattr(given, name)]:
        parser.error(f"{', '.join(empty)} must be given: make score INPUT=... OUTPUT=... SCORER=...")
    if given.chunk_rows < 1:
        parser.error(f"--chunk-rows is {given.chunk_rows}; it must be above 0")
    paths = Path(given.input), Path(given.output)
    asked = ScoreOptions(given.scorer, *paths, given.reasons == "yes", given.version, given.store, given.chunk_rows)
    return replace(asked, engine=given.engine or None)


def main() -> None:
    """Score what the command line asks for; ends with TOO_MANY_REJECTED where that many rows were."""
    asked = _asked()
    kept = "what is finished is kept: run the same command again to go on"
    try:
        most = declared_scorer(asked.scorer).quarantine.max_share
        found = score_files(asked)
    except (StageError, BundleError, StoreError) as error:
        raise SystemExit(f"score: {error}") from error
    except OSError as error:
        if error.errno in FULL:
            where = work_folder(asked.output.resolve()).parent
            raise SystemExit(f"score: there is no space left in {where}; make room, {kept}") from error
        raise SystemExit(f"score: {error}") from error
    except BrokenProcessPool as error:
        raise SystemExit(f"score: a process was ended, perhaps for its memory (--chunk-rows); {kept}") from error
    say(summary(asked, found))
    if found["rejected"] > most * found["rows"]:
        say(f"  that is more than quarantine.max_share of {asked.scorer}, {most:.2%}")
        raise SystemExit(TOO_MANY_REJECTED)


if __name__ == "__main__":
    main()
