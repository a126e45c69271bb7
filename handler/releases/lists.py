"""Lists: requests with a listed value of a field are approved, reviewed or blocked, whatever their score.

A scorer's lists are one file of the store, whose name is a hash of its content. The pointer names it, and the watcher
swaps it like a bundle. Values are hashed with the deployment's key, so that readers of the store cannot tell whose they
are. Imported only by deployments whose pointers name lists.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from handler.releases.signature import is_signature, signature_name
from handler.releases.store import Store
from handler.scoring.fields import Frozen, Name
from handler.scoring.scorer import Scored

if TYPE_CHECKING:
    from handler.scoring.contract import Band, Contract

ListName = Literal["block", "review", "allow"]
"""In order of precedence: of several lists that a request is on, the first here decides."""
# Room for some 40,000 entries, which take 70 MB in the function, and twice that while they are swapped.
MAX_LISTS_BYTES = 8_000_000
# No audit fields: a value that the model must not know must not decide either.
LISTED_TYPES = ("key", "category", "text")
HASH_DIGITS = 32
_BANDS: dict[ListName, "Band"] = {"block": "block", "review": "review", "allow": "approve"}


class ListsError(ValueError):
    """Raised if a file of lists must not be used."""


class Entry(Frozen):
    """One value that is on a list."""

    list: ListName
    field: Name
    value: Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{HASH_DIGITS}}}$")]
    """The field's value as `hashed_value` returns it."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    by: str
    at: Annotated[float, Field(ge=0)]
    """When it was added, in seconds since 1970."""
    expires: Annotated[float, Field(gt=0)] | None = None

    @property
    def is_flagging(self) -> bool:
        """Whether a request that is on the list is flagged."""
        return self.list != "allow"

    @property
    def band(self) -> "Band":
        """The band of a request that is on the list, if the decision has bands."""
        return _BANDS[self.list]

    def decided(self, scored: Scored) -> Scored:
        """The result of a request that is on the list; its probability and score stay the model's."""
        return scored._replace(is_flagged=self.is_flagging, band=self.band if scored.band else None)

    @property
    def told(self) -> dict[str, str]:
        """What the answer says about the entry."""
        return {"name": self.list, "field": self.field, "reason": self.reason}


class ListFile(Frozen):
    """All lists of a scorer."""

    format: Literal[1]
    scorer: str
    serial: Annotated[int, Field(ge=1)]
    """Counts the versions, so that no two are equal, and one older than that in use is refused."""
    fingerprint: str
    """Identifies the key with which the values were hashed."""
    entries: tuple[Entry, ...]


class Lists:
    """The lists that a slot's requests are looked up in."""

    def __init__(self, version: str, file: ListFile, contract: "Contract", key: bytes) -> None:
        """Prepare the look-up of the fields that the contract has."""
        self.version, self.serial, self._key = version, file.serial, key
        # The entries of one value are kept in order of precedence.
        order = get_args(ListName)
        by_field: dict[str, dict[str, list[Entry]]] = {}
        for entry in sorted(file.entries, key=lambda entry: order.index(entry.list)):
            if entry.field in contract.fields and contract.fields[entry.field].type in LISTED_TYPES:
                by_field.setdefault(entry.field, {}).setdefault(entry.value, []).append(entry)
        self._by_field = by_field
        self._order = order

    def found(self, requests: Sequence[BaseModel], now: float) -> list[Entry | None]:
        """The entry that decides each request; None if no value of the request is on a list now."""
        return [self._found(vars(request), now) for request in requests]

    def found_in(self, rows: Any, now: float) -> list[Entry | None]:  # noqa: ANN401 - a table of pandas, which the function lacks
        """As `found`, for the rows of a table."""
        fields = [field for field in self._by_field if field in rows]
        if not fields:
            return [None] * len(rows)
        columns = (rows[field].to_numpy(dtype=object, na_value=None).tolist() for field in fields)
        return [self._found(dict(zip(fields, values, strict=True)), now) for values in zip(*columns, strict=True)]

    def _found(self, request: Mapping[str, Any], now: float) -> Entry | None:
        strongest: Entry | None = None
        for field, entries in self._by_field.items():
            # A swap replaces the model before its lists, so a request may lack a field that they still look up.
            if (value := request.get(field)) is None:
                continue
            for entry in entries.get(hashed_value(field, value, self._key), ()):
                if entry.expires is not None and entry.expires <= now:
                    continue
                if strongest is None or self._order.index(entry.list) < self._order.index(strongest.list):
                    strongest = entry
                break
        return strongest


def hashed_value(field: str, value: str, key: bytes) -> str:
    """The keyed hash by which a list holds a field's value."""
    return hmac.digest(key, f"list\0{field}\0{value}".encode(), "sha256").hex()[:HASH_DIGITS]


def key_fingerprint(key: bytes) -> str:
    """The hash by which a file of lists identifies the key."""
    return hashed_value("", "fingerprint", key)


def lists_key(scorer: str, version: str) -> str:
    """The key of a scorer's lists in the store."""
    return f"{scorer}/lists/{version}.json"


def lists_version(content: str) -> str:
    """The version of lists: a hash of their content without the signatures."""
    return sha256(content.encode()).hexdigest()[:12]


def lists_statement(content: str) -> bytes:
    """The message that is signed for lists."""
    return b"fraud-scorer lists, sha256 " + sha256(content.encode()).hexdigest().encode()


def read_lists(store: Store, scorer: str, version: str, public_keys: tuple[bytes, ...], key: bytes) -> ListFile:
    """The lists of a version, verified; with public keys they must be signed by one of them.

    Raises StoreError if they cannot be read, ListsError if they must not be used.
    """
    name = lists_key(scorer, version)
    return parse_lists(store.read(name, MAX_LISTS_BYTES), f"{store}/{name}", scorer, version, public_keys, key)


def parse_lists(  # noqa: PLR0913, PLR0917 - what is read, and all that is checked
    envelope: bytes, where: str, scorer: str, version: str, public_keys: tuple[bytes, ...], key: bytes
) -> ListFile:
    """As `read_lists`, from the content of a file."""
    try:
        outer: Mapping[str, Any] = json.loads(envelope)
        content, signatures = outer["lists"], outer["signatures"]
        if lists_version(content) != version:
            raise ListsError(f"{where} was changed: its content has version {lists_version(content)}, not {version}")
        signed = {signature_name(public): public for public in public_keys}
        if signed and not any(
            name in signatures and is_signature(lists_statement(content), signatures[name].encode(), public)
            for name, public in signed.items()
        ):
            raise ListsError(
                f"{where} is not signed by a trusted key; its signatures must include a valid {' or '.join(signed)}"
            )
        file = ListFile.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        text = f"{place}: {problem['msg']}" if place else problem["msg"]
        raise ListsError(f"{where} is not a valid file of lists: {text}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ListsError):
            raise
        raise ListsError(f"{where} is not a file of lists") from error
    if file.scorer != scorer:
        raise ListsError(f"{where} has the lists of {file.scorer}; it must have those of {scorer}")
    if not key:
        raise ListsError(
            f"{where}: its values are hashed, but PREDICTIONS_KEY is empty; set it to the key that hashed them"
        )
    if file.fingerprint != key_fingerprint(key):
        raise ListsError(f"{where}: its values were hashed with another PREDICTIONS_KEY")
    return file
