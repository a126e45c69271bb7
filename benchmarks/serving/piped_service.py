"""The function with a pipe for its stdout, which another process drains, as in Lambda: /dev/null would cost it less."""

import os
import subprocess

# Before the application, which keeps the number of the file that stdout is.
_reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: S607 - the system's own
assert _reader.stdin  # noqa: S101 - for the type checker: it is a pipe
os.dup2(_reader.stdin.fileno(), 1)

from handler.app import app, handler  # noqa: E402 - see above

__all__ = ["app", "handler"]
