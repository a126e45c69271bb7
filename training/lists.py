"""Lists of an analyst: values of a field whose requests are approved, reviewed or blocked, whatever their score.

`make lists SCORER=refund ADD=block FIELD=account_id VALUE=a-17 REASON='chargebacks' [EXPIRES=2027-01-31]` adds a value,
`REMOVE=block` removes one, `FILE=lists.csv` adds all of a table with the columns list, field, value, reason and,
optionally, expires. Without any of these it shows what there is, and with FIELD and VALUE whether that is on a list.
The store has hashes of the values, for which PREDICTIONS_KEY is needed.
"""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any, get_args

from pydantic import ValidationError

from handler.releases.lists import Entry, ListName, hashed_value
from handler.releases.store import StoreError
from handler.scoring.contract import Contract
from handler.scoring.fields import STRING_TYPES
from training.data.chunks import read_columns
from training.data.input_files import read_input_files
from training.data.times import parse_utc_date
from training.declaration import declared_scorer
from training.delivery.lists_writer import ListStore
from training.delivery.store_writer import STORE, open_store_writer
from training.errors import DataError, StageError, counted
from training.run.command import one_line_errors
from training.run.progress import say
from training.run.provenance import person

NAMES = get_args(ListName)
COLUMNS = ("list", "field", "value", "reason")


def new_entry(row: dict[str, Any], contract: Contract, key: bytes, where: str) -> Entry:
    """The entry of a row of texts; raises DataError with what is wrong, and never with the value."""
    name, field, value, reason = (str(row[column] or "").strip() for column in COLUMNS)
    listed = [name for name, declared in contract.fields.items() if declared.type in STRING_TYPES]
    if name not in NAMES:
        raise DataError(f"{where}: list is {name!r}; it must be one of {', '.join(NAMES)}")
    if field not in listed:
        raise DataError(f"{where}: field is {field!r}; it must be one of {', '.join(listed) or '(no field is a text)'}")
    if not value:
        raise DataError(f"{where}: value is empty")
    if not reason:
        raise DataError(f"{where}: reason is empty; say why, so that whoever reads the answer knows")
    expires = None
    if text := str(row.get("expires") or "").strip():
        try:
            expires = parse_utc_date(text)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise DataError(f"{where}: expires is {text!r}; it must be a date, such as 2027-01-31") from error
        if expires <= time():
            raise DataError(f"{where}: expires is {text}, which is past")
    try:
        return Entry(
            list=name,  # type: ignore[arg-type]  # one of NAMES
            field=field,
            value=hashed_value(field, value, key),
            reason=reason,
            by=person(),
            at=time(),
            expires=expires,
        )
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise DataError(f"{where}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def entries_of(path: Path, contract: Contract, key: bytes) -> list[Entry]:
    """The entries of a table; raises DataError where one is wrong."""
    optional = [name for name in ("expires",) if name in read_input_files(path)[0].schema.names]
    table = read_columns(path, [*COLUMNS, *optional])
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [new_entry(row, contract, key, f"{path}, row {place}") for place, row in enumerate(rows, start=1)]


def summary(entries: Sequence[Entry]) -> str:
    """How many values each list has, by field, and which expire first."""
    counts = Counter((entry.list, entry.field) for entry in entries)
    lines = [f"  {name:6} {field}: {counted(n, 'value')}" for (name, field), n in sorted(counts.items())]
    if expiring := sorted(entry.expires for entry in entries if entry.expires):
        lines.append(f"  the first of {len(expiring):,} that expire does so on {_day(expiring[0])}")
    return "\n".join(lines) or "  they are empty"


def found(entries: Sequence[Entry], field: str, value: str, key: bytes) -> str:
    """On which lists a value is."""
    hashed = hashed_value(field, value, key)
    lines = [
        f"  {entry.list}: {entry.reason}, by {entry.by} on {_day(entry.at)}"
        + (f", until {_day(entry.expires)}" if entry.expires else "")
        for entry in entries
        if (entry.field, entry.value) == (field, hashed)
    ]
    return "\n".join(lines) or "  it is on no list"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.lists", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("--add", default="", help="block, review or allow")
    parser.add_argument("--remove", default="", help="block, review or allow")
    parser.add_argument("--field", default="")
    parser.add_argument("--value", default="")
    parser.add_argument("--reason", default="")
    parser.add_argument("--expires", default="", help="a date, in UTC")
    parser.add_argument("--file", default="", help="a table of entries to add")
    parser.add_argument("--signing-key", default="", help="a PEM file with an Ed25519 key, or kms:KEY-ID")
    parser.add_argument("--store", default=os.environ.get("STORE") or STORE, help="a folder, or s3://bucket/prefix")
    parser.add_argument("--key", default=os.environ.get("PREDICTIONS_KEY", ""), help="what values are hashed with")
    return parser


def _run(options: argparse.Namespace) -> None:
    contract = declared_scorer(options.scorer).contract
    if not options.key:
        raise StageError("PREDICTIONS_KEY is empty; give the deployment's, with which values are hashed")
    if sum(map(bool, (options.add, options.remove, options.file))) > 1:
        raise StageError("give one of ADD, REMOVE and FILE")
    key = options.key.encode()
    lists = ListStore(open_store_writer(options.store), options.scorer, key)
    if not (options.add or options.remove or options.file):
        version, entries = lists.read()
        say(
            f"{options.scorer}: lists {version or 'none'} in {lists.store}, {counted(len(entries), 'entry', 'entries')}"
        )
        say(found(entries, options.field, options.value, key) if options.value else summary(entries))
        return
    row = {"list": options.add or options.remove, **{name: getattr(options, name) for name in ("field", "value")}}
    if options.file:
        new = entries_of(Path(options.file), contract, key)
        reason = f"{counted(len(new), 'entry', 'entries')} of {Path(options.file).name}"
    elif options.add:
        new = [new_entry(row | {"reason": options.reason, "expires": options.expires}, contract, key, "ADD")]
        reason = f"{options.add} of {options.field}: {options.reason}"
    else:
        new = []
        reason = f"removed from {options.remove} of {options.field}: {options.reason or 'no reason given'}"
    gone = {(entry.list, entry.field, entry.value) for entry in new}
    if options.remove:
        removed = new_entry(row | {"reason": "removed"}, contract, key, "REMOVE")
        gone = {(removed.list, removed.field, removed.value)}
        if not any((entry.list, entry.field, entry.value) in gone for entry in lists.read()[1]):
            raise StageError(f"this value of {options.field} is not on the list {options.remove}")
    pointer, n_entries = lists.write(
        lambda entries: [*(e for e in entries if (e.list, e.field, e.value) not in gone), *new],
        reason,
        options.signing_key,
    )
    say(f"{options.scorer}: lists {pointer.lists}, {counted(n_entries, 'entry', 'entries')}; {reason}")


def main() -> None:
    """Change or show the lists of one scorer."""
    options = _parser().parse_args()
    with one_line_errors("lists", StoreError, OSError):
        _run(options)


if __name__ == "__main__":
    main()
