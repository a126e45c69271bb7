"""Errors that end a command with one sentence."""


class StageError(ValueError):
    """Raised when a stage cannot go on for a reason that its user can mend."""


class DataError(StageError):
    """Raised when the data cannot be what the declaration says."""
