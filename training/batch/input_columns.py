"""The columns of an input file: which one belongs to each field, and what is reported about the others."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from handler.scoring.contract import Contract
from handler.scoring.fields import STRING_TYPES
from training.data.input_files import InputFile, are_whole
from training.data.near_names import near_text, spelled_otherwise
from training.data.written_keys import decimal_keys
from training.errors import DataError

# How many of the columns that no field reads are named.
SHOWN = 20


def columns_by_field(part: InputFile, contract: Contract) -> dict[str, str]:
    """The column of each field that has one: its name, or else its key in a request.

    Raises DataError if a required field has no column, if a field has two, or if the name of a field without a column
    differs from an unused column only in its spelling.
    """
    names = part.schema.names
    fields = {name: (name, field.alias or name) for name, field in contract.fields.items()}
    for name in filter(None, (contract.id, contract.time_key)):
        fields[name] = (name, name)
    column_of: dict[str, str] = {}
    for field, keys in fields.items():
        columns = [key for key in dict.fromkeys(keys) if key in names]
        if len(columns) > 1:
            both = " and ".join(columns)
            raise DataError(f"{part.path} has the columns {both}, which are both the field {field}; remove one")
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
    """Raise DataError if an unused column is another spelling of a field without a column."""
    wrong = {column: field for field, keys in absent for column in spelled_otherwise(keys, unused).values()}
    if wrong:
        pairs = ", ".join(f"{column} (did you mean {field}?)" for column, field in wrong.items())
        raise DataError(
            f"{part.path}: no field reads {pairs}; rename the columns that are fields, and remove or rename the others"
        )


def unread_text(part: InputFile, columns: Mapping[str, str], contract: Contract) -> str:
    """Which fields have no column, and which columns no field reads; "" if there are none."""
    absent = [name for name in contract.fields if name not in columns]
    unused = [name for name in part.schema.names if name not in columns.values()]
    fields = ", ".join(absent)
    names = ", ".join(unused[:SHOWN]) + (f" and {len(unused) - SHOWN:,} more" if len(unused) > SHOWN else "")
    have = "has no column and is" if len(absent) == 1 else "have no column and are"
    lacks_time = contract.time_key not in {None, *columns}
    texts = [
        f"without a column {contract.time_key}, each row is scored as a request made now" if lacks_time else "",
        f"{fields} {have} missing in every row" if absent else "",
        f"no field reads the {'column' if len(unused) == 1 else 'columns'} {names}" if unused else "",
    ]
    return "; ".join(filter(None, texts))


def fraction_fields(parts: Sequence[InputFile], columns: Mapping[str, str], contract: Contract) -> frozenset[str]:
    """The text fields whose column holds numbers, not all of them whole."""
    texts = [name for name, field in contract.fields.items() if field.type in STRING_TYPES] + [contract.id or ""]
    # Keys are read cell by cell.
    texts = [name for name in texts if name not in contract.keys]
    schema = parts[0].schema
    numbers = [name for name in texts if name in columns and pa.types.is_floating(schema.field(columns[name]).type)]
    return frozenset(name for name in numbers if not are_whole(parts, columns[name]))


def decimal_fields(
    parts: Sequence[InputFile], columns: Mapping[str, str], contract: Contract, chunk_rows: int
) -> frozenset[str]:
    """The keys whose column in a text file has whole numbers written with decimals."""
    keys = {columns[name]: name for name in contract.keys if name in columns}
    return frozenset(keys[column] for column in decimal_keys(parts, keys, chunk_rows))
