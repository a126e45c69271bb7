"""The lists of a scorer in the store: checks typed entries, and reads, changes, signs and publishes lists."""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, NamedTuple, get_args

import pandas as pd
from pydantic import ValidationError

from handler.releases.lists import (
    LISTED_TYPES,
    MAX_LISTS_BYTES,
    Entry,
    ListFile,
    ListName,
    ListsError,
    hashed_value,
    key_fingerprint,
    lists_key,
    lists_statement,
    lists_version,
    read_lists,
)
from handler.releases.store import Pointer
from handler.scoring.contract import Contract
from training.data.column_checks import check_field
from training.data.times import parse_utc_date
from training.delivery.pointer import update_pointer
from training.delivery.publish import signature_of
from training.delivery.store_writer import StoreWriter, read_current_pointer, store_json
from training.errors import DataError, StageError

LIST_NAMES = get_args(ListName)
Change = Callable[[Sequence[Entry]], Iterable[Entry]]


@dataclass(frozen=True)
class ListStore:
    """The lists of one scorer in a store, whose values are hashed with a key."""

    store: StoreWriter
    scorer: str
    key: bytes
    public_keys: tuple[bytes, ...] = ()
    """One of these must have signed the lists that are read, because signing a change also signs earlier entries."""

    def read(self) -> tuple[str | None, tuple[Entry, ...]]:
        """The version that the pointer names, and its entries; None and no entries if it names none.

        Raises StageError if a function would refuse the lists.
        """
        version = self._version()
        if version is None:
            return None, ()
        try:
            return version, read_lists(self.store, self.scorer, version, self.public_keys, self.key).entries
        except ListsError as error:
            raise StageError(f"{error}; REPLACE=yes with FILE replaces all entries, CLEAR=yes removes them") from error

    def write(self, change: Change, reason: str, signing_key: str = "") -> tuple[Pointer, int]:
        """Change the entries and drop expired ones; returns the new pointer and the number of entries."""
        version, before = self.read()
        return self._name(version, change(before), reason, signing_key)

    def replace(self, entries: Iterable[Entry], reason: str, signing_key: str = "") -> tuple[Pointer, int]:
        """Replace all entries, readable or not; returns what `write` returns. No entries at all remove the lists."""
        return self._name(self._version(), entries, reason, signing_key)

    def _version(self) -> str | None:
        pointer, _ = read_current_pointer(self.store, self.scorer)
        return pointer.lists if pointer else None

    def _name(
        self, version: str | None, entries: Iterable[Entry], reason: str, signing_key: str
    ) -> tuple[Pointer, int]:
        """Write the entries to a new file that the pointer names; raises StageError if it no longer names `version`."""
        now = time()
        kept = tuple(entry for entry in entries if entry.expires is None or entry.expires > now)
        new = self._put(kept, signing_key) if kept else None

        def named(now: Pointer | None) -> dict[str, Any]:
            if (now.lists if now else None) != version:
                raise StageError(
                    f"the lists of {self.scorer} were changed by another writer in the meantime; try again"
                )
            return {"lists": new, "reason": reason}

        return update_pointer(self.store, self.scorer, "lists", named), len(kept)

    def _put(self, entries: tuple[Entry, ...], signing_key: str) -> str:
        pointer, _ = read_current_pointer(self.store, self.scorer)
        serial = pointer.serial + 1 if pointer else 1
        file = ListFile(
            format=1, scorer=self.scorer, serial=serial, fingerprint=key_fingerprint(self.key), entries=entries
        )
        content = json.dumps(file.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
        signatures = signature_of(lists_statement(content), signing_key) if signing_key else {}
        envelope = {"lists": content, "signatures": {name: text.decode() for name, text in signatures.items()}}
        if (size := len(written := store_json(envelope))) > MAX_LISTS_BYTES:
            raise StageError(
                f"{len(entries):,} entries take {size:,} bytes, but functions read lists of at most "
                f"{MAX_LISTS_BYTES:,}; remove entries that nobody needs, or let more of them expire"
            )
        new = lists_version(content)
        self.store.put_new(lists_key(self.scorer, new), written)
        return new


class Typed(NamedTuple):
    """An entry as it was typed."""

    name: str
    field: str
    value: object
    reason: str
    expires: str


def new_entry(typed: Typed, contract: Contract, key: bytes, by: str) -> Entry:
    """The entry to write for what was typed; raises DataError, which says what is wrong, never with the value."""
    name, field, value, reason, expires = typed
    if name not in LIST_NAMES:
        raise DataError(f"list is {name!r}; it must be one of {', '.join(LIST_NAMES)}")
    check_listed(field, contract)
    if isinstance(value, str) and not value.isascii() and value != value.encode(errors="replace").decode():
        raise DataError("value is not valid UTF-8")
    # The value is read like a request's: a whole number can be a key, a fraction cannot.
    declared = contract.fields[field].model_copy(update={"required": True})
    # The text beside it makes this a column of texts; a number alone would make it a column of numbers.
    values, problems = check_field(pd.Series([value, "a"], dtype=object), declared)
    if problems[0]:
        raise DataError(f"value {problems[0]}")
    if not reason.strip():
        raise DataError("reason is empty; say why the value is listed, for readers of the answer")
    until = None
    if expires:
        try:
            until = parse_utc_date(expires)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise DataError(f"expires is {expires!r}; it must be a date, such as 2027-01-31") from error
        if until <= time():
            raise DataError(f"expires is {expires}, which is in the past; it must be a later date")
    try:
        return Entry(
            list=name,  # type: ignore[arg-type]  # one of LIST_NAMES
            field=field,
            value=hashed_value(field, values[0], key),
            reason=reason.strip(),
            by=by,
            at=time(),
            expires=until,
        )
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise DataError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def check_listed(field: str, contract: Contract) -> None:
    """Raise DataError if lists may not contain values of a field."""
    listed = [name for name, declared in contract.fields.items() if declared.type in LISTED_TYPES]
    if field not in listed:
        raise DataError(f"field is {field!r}; it must be one of {', '.join(listed) or '(no field is a text)'}")
