"""Field names: column names of any kind turned into names that a contract allows."""

import re
import unicodedata
from collections.abc import Collection

from pydantic import BaseModel

from handler.scoring.contract import ANSWER_KEYS

LONGEST_NAME = 64


def fitting_name(column: str, taken: Collection[str]) -> str:
    """A valid field name: the column's own if it is valid, else its letters and digits in snake case.

    >>> fitting_name("Transaction Amount ($)", ()), fitting_name("V1", ()), fitting_name("copy", ())
    ('transaction_amount', 'V1', 'copy_value')
    """
    name = column
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", column) or len(column) > LONGEST_NAME:
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", _ascii(column))
        name = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_") or "column"
        name = name if name[0].isalpha() else f"column_{name}"
    name = name[:LONGEST_NAME]
    # These are reserved: pydantic's prefixes and methods of the request model, and the keys of an answer.
    if hasattr(BaseModel, name) or name in ANSWER_KEYS or name.startswith(("model_dump", "model_validate")):
        name = f"{name[:58]}_value" if not name.startswith("model_") else f"value_{name[:58]}"
    unique, count = name, 2
    while unique in taken:
        unique, count = f"{name[: 63 - len(str(count))]}_{count}", count + 1
    return unique


def unique_names(columns: list[str], taken: Collection[str]) -> dict[str, str]:
    """A valid field name for each column, all different and none of them taken."""
    names: dict[str, str] = {}
    for column in columns:
        names[column] = fitting_name(column, {*taken, *names.values()})
    return names


def words_of(column: str) -> set[str]:
    """The words of a column's name in lower case without accents: transaction and amt for TransactionAmt."""
    return set(_words(column))


def last_word_of(column: str) -> str:
    """The last word of a column's name, which says what it holds: the amt in TransactionAmt; "" if there is none."""
    return ["", *_words(column)][-1]


def _words(column: str) -> list[str]:
    return re.sub(r"[^a-z0-9]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", _ascii(column)).lower()).split()


def _ascii(text: str) -> str:
    """The letters of a text without their accents."""
    return unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
