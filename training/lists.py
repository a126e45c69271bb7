"""An analyst's lists: field values whose requests are approved, reviewed or blocked, whatever their score.

`make lists SCORER=refund ADD=block FIELD=account_id VALUE=a-17 REASON='chargebacks' [EXPIRES=2027-01-31]` adds a value,
`REMOVE=block` removes one. `FILE=lists.csv` adds all rows of a table with the columns list, field, value, reason and,
optionally, expires; with `REPLACE=yes` they take the place of all existing entries. `CLEAR=yes` removes all entries.
Without any of these the command shows a summary of the lists or, with FIELD and VALUE, which lists the value is on. The
store holds hashes of the values, which are computed with PREDICTIONS_KEY.
"""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from handler.releases.lists import Entry, hashed_value
from handler.releases.store import StoreError
from handler.scoring.contract import Contract
from handler.settings import SETTINGS
from training.data.input_files import read_input_files
from training.data.row_reader import read_columns
from training.data.times import day_text
from training.declaration import declared_scorer
from training.delivery.lists_writer import ListStore, Typed, check_listed, new_entry
from training.delivery.store_writer import STORE, open_store_writer
from training.errors import DataError, StageError, counted
from training.run.command import one_line_errors
from training.run.progress import say
from training.run.provenance import person

COLUMNS, EXPIRES = ("list", "field", "value", "reason"), "expires"


def entries_of(path: Path, contract: Contract, key: bytes) -> list[Entry]:
    """The entries of a table; raises DataError if an entry is invalid or a column is unknown."""
    names = read_input_files(path)[0].schema.names
    if unknown := sorted(set(names) - {*COLUMNS, EXPIRES}):
        raise DataError(
            f"{path} has unknown columns: {', '.join(unknown)}; the known ones are {', '.join((*COLUMNS, EXPIRES))}"
        )
    table = read_columns(path, [*COLUMNS, *(name for name in (EXPIRES,) if name in names)])
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    by, entries = person(), []
    for place, row in enumerate(rows, start=1):
        texts = [str(row.get(column) or "").strip() for column in ("list", "field", "reason", EXPIRES)]
        name, field, reason, expires = texts
        try:
            entries.append(new_entry(Typed(name, field, row["value"], reason, expires), contract, key, by))
        except DataError as error:
            raise DataError(f"{path}, row {place:,}: {error}") from error
    return entries


def summary(entries: Sequence[Entry]) -> str:
    """How many values each list has, by field, and when the first of them expires."""
    counts = Counter((entry.list, entry.field) for entry in entries)
    lines = [f"  {name:6} {field}: {counted(n, 'value')}" for (name, field), n in sorted(counts.items())]
    if expiring := sorted(entry.expires for entry in entries if entry.expires):
        lines.append(
            f"  {counted(len(expiring), 'value expires', 'values expire')}, the first on {day_text(expiring[0])}"
        )
    return "\n".join(lines) or "  the lists are empty"


def lists_with(entries: Sequence[Entry], field: str, value: str, key: bytes) -> str:
    """The lists that a value is on."""
    hashed = hashed_value(field, value, key)
    lines = [
        f"  {entry.list}: {entry.reason}, by {entry.by} on {day_text(entry.at)}"
        + (f", until {day_text(entry.expires)}" if entry.expires else "")
        for entry in entries
        if (entry.field, entry.value) == (field, hashed)
    ]
    return "\n".join(lines) or "  the value is on no list"


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
    parser.add_argument("--replace", default="", choices=("yes", ""), help="with --file: replace all existing entries")
    parser.add_argument("--clear", default="", choices=("yes", ""), help="remove all entries, whatever they are")
    parser.add_argument("--signing-key", default="", help="a PEM file with an Ed25519 key, or kms:KEY-ID")
    parser.add_argument("--store", default=os.environ.get("STORE") or STORE, help="a folder, or s3://bucket/prefix")
    parser.add_argument(
        "--key", default=os.environ.get("PREDICTIONS_KEY", ""), help="the key with which values are hashed"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    contract = declared_scorer(options.scorer).contract
    if not options.key:
        raise StageError("PREDICTIONS_KEY is empty; set it to the deployment's key, with which values are hashed")
    given = [name for name in ("add", "remove", "file", "clear") if getattr(options, name)]
    if len(given) > 1:
        raise StageError(f"{' and '.join(map(str.upper, given))} cannot be combined; give one of them")
    if options.replace and not options.file:
        raise StageError("REPLACE=yes needs FILE, whose entries replace all existing ones")
    key = options.key.encode()
    lists = ListStore(open_store_writer(options.store), options.scorer, key, SETTINGS.store_public_key)
    if not given:
        _show(lists, options, contract)
        return
    gone: set[tuple[str, str, str]] = set()
    new: list[Entry] = []
    if options.file:
        new = entries_of(Path(options.file), contract, key)
        reason = f"{counted(len(new), 'entry', 'entries')} of {Path(options.file).name}"
    elif options.clear:
        reason = f"cleared: {options.reason or 'no reason given'}"
    else:
        name, reason = options.add or options.remove, options.reason or ("" if options.add else "no reason given")
        typed = new_entry(Typed(name, options.field, options.value, reason, options.expires), contract, key, person())
        new = [typed] if options.add else []
        gone = {_place(typed)}
        reason = (
            f"{options.add} of {options.field}: {reason}"
            if options.add
            else f"removed from {name} of {options.field}: {reason}"
        )
        if options.remove and not any(_place(entry) in gone for entry in lists.read()[1]):
            raise StageError(f"this value of {options.field} is not on the list {name}")
    gone |= {_place(entry) for entry in new}
    if options.clear or options.replace:
        pointer, n_entries = lists.replace(new, reason, options.signing_key)
    else:
        pointer, n_entries = lists.write(
            lambda entries: [*(entry for entry in entries if _place(entry) not in gone), *new],
            reason,
            options.signing_key,
        )
    say(f"{options.scorer}: lists {pointer.lists or 'none'}, {counted(n_entries, 'entry', 'entries')}; {reason}")


def _place(entry: Entry) -> tuple[str, str, str]:
    """What identifies an entry: a new one replaces an existing one with the same list, field and value."""
    return entry.list, entry.field, entry.value


def _show(lists: ListStore, options: argparse.Namespace, contract: Contract) -> None:
    if options.value or options.field:
        check_listed(options.field, contract)
    version, entries = lists.read()
    n_entries = counted(len(entries), "entry", "entries")
    say(f"{options.scorer}: lists {version or 'none'} in {lists.store}, {n_entries}")
    say(lists_with(entries, options.field, options.value, lists.key) if options.value else summary(entries))


def main() -> None:
    """Change or show the lists of one scorer."""
    options = _parser().parse_args()
    with one_line_errors("lists", StoreError, OSError):
        _run(options)


if __name__ == "__main__":
    main()
