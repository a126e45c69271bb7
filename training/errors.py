"""Errors that end a command with one sentence."""


class StageError(ValueError):
    """Raised when a command cannot continue for a reason that its user can correct."""


class DataError(StageError):
    """Raised when data cannot be read, or do not match the declaration."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun in the singular or plural, for messages.

    >>> counted(1, "row"), counted(1200, "row"), counted(2, "row is", "rows are")
    ('1 row', '1,200 rows', '2 rows are')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
