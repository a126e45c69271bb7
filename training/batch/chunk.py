"""The scoring of one chunk of an input file, in whichever process has a free core."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from handler.releases.lists import Lists
from handler.scoring.contract import Contract
from handler.scoring.fields import NUMERIC_TYPES
from handler.scoring.scorer import Scorer, load_scorer
from training.batch.answers import EXPLANATIONS, LISTED, answer_rows
from training.batch.checkpoint import finish_chunk
from training.batch.outputs import output_schema, write_arrow, write_csv, write_rejected
from training.data.input_files import InputFile
from training.data.row_reader import Chunk, frame_of, lines_of, read_chunk, with_decimal_points
from training.data.set_aside import kind_of, lines_by_kind
from training.data.written_keys import with_numbers

# A file in the run's folder, for a scorer with a history: the history features of all rows, (n_rows, n_features).
PAST_VALUES = "past.npy"


@dataclass(frozen=True)
class ScoringJob:
    """What every chunk of a run has in common."""

    run: Path
    kind: str
    """The suffix of the output: `.csv` or `.parquet`."""
    columns: Mapping[str, str]
    """The column of each field, and of the id."""
    fractions: frozenset[str]
    """The text fields whose column holds numbers, not all of them whole."""
    explain: bool
    now: float
    """The time of the rows that have none, in seconds."""
    past: str = ""
    """For a scorer with a history, the file of what happened before the rows; "" if nothing is known."""
    decimals: frozenset[str] = frozenset()
    """The keys whose column in a text file has whole numbers written with decimals."""
    of_decision: tuple[str, ...] = ()
    """The `decision_columns` of the scorer."""
    lists: Lists | None = None
    """The lists that override the score."""

    @property
    def further(self) -> tuple[str, ...]:
        """The columns that the answers of this run have beyond those of every run."""
        return (*self.of_decision, *(EXPLANATIONS if self.explain else ()), *((LISTED,) if self.lists else ()))


def score_chunk(chunk: Chunk, part: InputFile, job: ScoringJob, first: int | None = None) -> dict[str, Any]:
    """Score a chunk, write its scored and rejected rows to the run's folder, and return its counts.

    `first` is the position of the chunk's first row in PAST_VALUES; None if the scorer has no history.
    """
    rows, scorer = read_chunk(chunk.content, part), scorer_of(job)
    fields = field_columns(rows.table, part, job, scorer.contract)
    past = None if first is None else _past_of(job.run, scorer.contract, first, len(fields))
    answers = answer_rows(scorer, fields, explain=job.explain, now=job.now, past=past, lists=job.lists)
    scored = _scored(rows.table, answers.answered, output_schema(part.schema, job.further))
    rejected = answers.rejected.to_dict()
    files = {".rows": partial(write_csv if job.kind == ".csv" else write_arrow, scored)}
    if rejected or rows.broken:
        files[".rejected"] = partial(write_rejected, chunk, part, rows, rejected)
    counts = {
        "rows": len(chunk.content),
        "scored": scored.num_rows,
        "flagged": int(answers.answered["is_flagged"].sum()),
        "rejected": len(rejected) + len(rows.broken),
        "because": dict(Counter(rejected.values()) + Counter(map(kind_of, rows.broken.values()))),
        "lines": lines_by_kind(lines_of(chunk, rows, part)),
    }
    finish_chunk(job.run, chunk.name, files, counts)
    return counts


def _past_of(run: Path, contract: Contract, first: int, n_rows: int) -> pd.DataFrame:
    """The history features of consecutive rows; NaN is missing."""
    values = np.load(run / PAST_VALUES, mmap_mode="r")[first : first + n_rows]
    return pd.DataFrame(np.array(values), columns=list(contract.history.features) if contract.history else None)


def scorer_of(job: ScoringJob) -> Scorer:
    """The scorer of a run over chunks."""
    return _scorer(job.run / "bundle", get_ident())


@lru_cache(maxsize=64)
def _scorer(folder: Path, thread: int) -> Scorer:  # noqa: ARG001 - a booster must stay in one thread
    """The bundle of a run, loaded once by each thread of a process."""
    return load_scorer(folder)


def field_columns(table: pa.Table, part: InputFile, job: ScoringJob, contract: Contract) -> pd.DataFrame:
    """The columns of a chunk's fields, under the fields' names, as `training.data.column_checks` reads them."""
    chosen = table.select(list(job.columns.values())).rename_columns(list(job.columns))
    numbers = [name for name, field in contract.fields.items() if field.type in NUMERIC_TYPES]
    plain = with_decimal_points(chosen, part, {*numbers, *job.decimals})
    return with_numbers(frame_of(plain, job.fractions), job.decimals)


def _scored(table: pa.Table, answered: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    kept = table if len(answered) == table.num_rows else table.take(pa.array(answered.index, pa.int64()))
    added = [pa.array(answered[name], schema.field(name).type, from_pandas=True) for name in answered]
    return pa.Table.from_arrays([*kept.columns, *added], schema=schema)
