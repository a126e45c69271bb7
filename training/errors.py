"""Errors that end a command with one sentence."""


class StageError(ValueError):
    """Raised when a command cannot continue for a reason that its user can correct."""


class DataError(StageError):
    """Raised when data cannot be read, or do not match the declaration."""
