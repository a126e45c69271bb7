"""Logs without what a caller sent: an exception's text may quote it, so only its kind and its place are logged."""

import logging
from traceback import format_tb

# They log the exceptions that no route answered: Mangum behind Lambda, uvicorn otherwise.
_LOGGERS = ("mangum.http", "uvicorn.error")


def hide_values() -> None:
    """Have the loggers of unanswered exceptions write each one's type and frames, and leave out its text."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_without_text)


def _without_text(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[0]:
        kind, _, frames = record.exc_info
        record.exc_info = None
        record.exc_text = f"{''.join(format_tb(frames))}{kind.__name__}"
    return True
