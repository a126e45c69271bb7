"""The scoring of one chunk of an input file, in whichever process has a core for it."""

from collections import Counter
from collections.abc import Mapping, Sequence
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
from handler.scoring.fields import NUMERIC_TYPES, STRING_TYPES
from handler.scoring.scorer import Scorer, load_scorer
from training.batch.answers import EXPLANATIONS, LISTED, answer_rows
from training.batch.checkpoint import finish_chunk
from training.batch.outputs import scored_schema, write_arrow, write_csv, write_rejected
from training.data.chunks import Chunk, frame_of, lines_of, read_chunk, with_decimal_points
from training.data.input_files import InputFile, are_whole
from training.data.near_names import near_text, spelled_otherwise
from training.data.set_aside import kind_of, lines_by_kind
from training.data.written_keys import decimal_keys, with_numbers
from training.errors import DataError

# In the run's folder of a scorer with a history: the features of the past of all rows, (n_rows, n_features).
PAST_VALUES = "past.npy"
# How many columns are named that no field reads.
SHOWN = 20


@dataclass(frozen=True)
class ScoringJob:
    """What every chunk of a run has in common."""

    run: Path
    kind: str
    """Of the output: `.csv` or `.parquet`."""
    columns: Mapping[str, str]
    """The column of each field, and of the id."""
    fractions: frozenset[str]
    """The text fields whose column holds numbers, not all of them whole."""
    explain: bool
    now: float
    """The time of the rows that have none, in seconds."""
    past: str = ""
    """Of a scorer with a history the file of what happened before the rows; "" where nothing is known."""
    decimals: frozenset[str] = frozenset()
    """The keys whose column in a text file has whole numbers with decimals."""
    of_decision: tuple[str, ...] = ()
    """The `decision_columns` of the scorer."""
    lists: Lists | None = None
    """What decides rows whatever their score."""

    @property
    def further(self) -> tuple[str, ...]:
        """The columns that the answers of this run have, and not those of every run."""
        return (*self.of_decision, *(EXPLANATIONS if self.explain else ()), *((LISTED,) if self.lists else ()))


def columns_of(part: InputFile, contract: Contract) -> dict[str, str]:
    """The column of each field that has one: its name, or else its key in a request.

    Raises DataError where a required field has none, a field has two, or a field without a column differs from an
    unused one only in its spelling.
    """
    names = part.schema.names
    fields = {name: (name, field.alias or name) for name, field in contract.fields.items()}
    for name in filter(None, (contract.id, contract.time_key)):
        fields[name] = (name, name)
    column_of: dict[str, str] = {}
    for field, keys in fields.items():
        columns = [key for key in dict.fromkeys(keys) if key in names]
        if len(columns) > 1:
            raise DataError(f"{part.path} has the columns {' and '.join(columns)}, which are one field; remove one")
        if columns:
            column_of[field] = columns[0]
    absent = [(field, keys) for field, keys in fields.items() if field not in column_of]
    unused = [name for name in names if name not in column_of.values()]
    _refuse_other_spelling(part, absent, unused)
    for field, keys in absent:
        if field in contract.fields and contract.fields[field].required:
            raise DataError(
                f"{part.path} has no column {' or '.join(dict.fromkeys(keys))}, which every request must carry; "
                f"it has {', '.join(sorted(names))}{near_text(field, unused)}"
            )
    return column_of


def _refuse_other_spelling(part: InputFile, absent: Sequence[tuple[str, Sequence[str]]], unused: Sequence[str]) -> None:
    """Raise DataError where a field without a column was meant by an unused one."""
    wrong = {column: field for field, keys in absent for column in spelled_otherwise(keys, unused).values()}
    if wrong:
        pairs = ", ".join(f"{column} (did you mean {field}?)" for column, field in wrong.items())
        raise DataError(
            f"{part.path}: no field reads {pairs}: rename what is a field, and remove or rename what is not"
        )


def unread_text(part: InputFile, columns: Mapping[str, str], contract: Contract) -> str:
    """Which fields have no column, and which columns no field reads; "" where there are none."""
    absent = [name for name in contract.fields if name not in columns]
    unused = [name for name in part.schema.names if name not in columns.values()]
    fields = ", ".join(absent)
    names = ", ".join(unused[:SHOWN]) + (f" and {len(unused) - SHOWN:,} more" if len(unused) > SHOWN else "")
    have = "has no column and is" if len(absent) == 1 else "have no column and are"
    lacks_time = contract.time_key not in {None, *columns}
    texts = [
        f"without a column {contract.time_key} each row counts as a request of now" if lacks_time else "",
        f"{fields} {have} missing in every row" if absent else "",
        f"no field reads the {'column' if len(unused) == 1 else 'columns'} {names}" if unused else "",
    ]
    return "; ".join(filter(None, texts))


def fractions_of(parts: Sequence[InputFile], columns: Mapping[str, str], contract: Contract) -> frozenset[str]:
    """The text fields whose column holds numbers, not all of them whole."""
    texts = [name for name, field in contract.fields.items() if field.type in STRING_TYPES] + [contract.id or ""]
    # Keys are read cell by cell.
    texts = [name for name in texts if name not in contract.keys]
    schema = parts[0].schema
    numbers = [name for name in texts if name in columns and pa.types.is_floating(schema.field(columns[name]).type)]
    return frozenset(name for name in numbers if not are_whole(parts, columns[name]))


def decimals_of(
    parts: Sequence[InputFile], columns: Mapping[str, str], contract: Contract, chunk_rows: int
) -> frozenset[str]:
    """The keys whose column in a text file has whole numbers with decimals."""
    keys = {columns[name]: name for name in contract.keys if name in columns}
    return frozenset(keys[column] for column in decimal_keys(parts, keys, chunk_rows))


def score_chunk(chunk: Chunk, part: InputFile, job: ScoringJob, first: int | None = None) -> dict[str, Any]:
    """The counts of a chunk, after its rows, scored or rejected, were written to the run's folder.

    `first` is the place of the past of its first row in the file of all rows' pasts.
    """
    rows, scorer = read_chunk(chunk.content, part), scorer_of(job)
    fields = field_columns(rows.table, part, job, scorer.contract)
    past = None if first is None else _past_of(job.run, scorer.contract, first, len(fields))
    answers = answer_rows(scorer, fields, explain=job.explain, now=job.now, past=past, lists=job.lists)
    scored = _scored(rows.table, answers.answered, scored_schema(part.schema, job.further))
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
    """The features of the past of consecutive rows; NaN is missing."""
    values = np.load(run / PAST_VALUES, mmap_mode="r")[first : first + n_rows]
    return pd.DataFrame(np.array(values), columns=list(contract.history.features) if contract.history else None)


def scorer_of(job: ScoringJob) -> Scorer:
    """The scorer of a run."""
    return _scorer(job.run / "bundle", get_ident())


@lru_cache(maxsize=64)
def _scorer(folder: Path, thread: int) -> Scorer:  # noqa: ARG001 - a booster must stay in one thread
    """The bundle of a run, loaded once by each thread of a process."""
    return load_scorer(folder)


def field_columns(table: pa.Table, part: InputFile, job: ScoringJob, contract: Contract) -> pd.DataFrame:
    """The fields' columns under the fields' names, as `training.data.column_checks` reads them from a file."""
    chosen = table.select(list(job.columns.values())).rename_columns(list(job.columns))
    numbers = [name for name, field in contract.fields.items() if field.type in NUMERIC_TYPES]
    plain = with_decimal_points(chosen, part, {*numbers, *job.decimals})
    return with_numbers(frame_of(plain, job.fractions), job.decimals)


def _scored(table: pa.Table, answered: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    kept = table if len(answered) == table.num_rows else table.take(pa.array(answered.index, pa.int64()))
    added = [pa.array(answered[name], schema.field(name).type, from_pandas=True) for name in answered]
    return pa.Table.from_arrays([*kept.columns, *added], schema=schema)
