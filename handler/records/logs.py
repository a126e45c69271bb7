"""What the function logs: lines that are written at once, and exceptions without request data.

Only the type and the frames of an exception are logged, because its text may quote a request.
"""

import logging
import os
from contextlib import suppress
from traceback import format_tb

# The loggers of exceptions that no route handled: Mangum's in Lambda, uvicorn's elsewhere.
_LOGGERS = ("mangum.http", "uvicorn.error")
_STDOUT = 1


def hide_exception_texts() -> None:
    """Make the loggers of unhandled exceptions write type and frames, without the text."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_without_text)


def _without_text(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[0]:
        kind, _, frames = record.exc_info
        record.exc_info = None
        record.exc_text = f"{''.join(format_tb(frames))}{kind.__name__}"
    return True


def write(line: bytes) -> None:
    """Write to stdout at once, without Python's buffers, which Lambda may freeze before they are flushed."""
    # A metric that cannot be written must not fail a request, nor the thread that watches the store.
    with suppress(OSError):
        os.write(_STDOUT, line)
