"""The function with its stdout piped to another process, as in Lambda; writing to /dev/null would cost less."""

import os
import subprocess

# This precedes the import of the application, which keeps the file descriptor of stdout.
_reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: S607 - the system's own
assert _reader.stdin  # noqa: S101 - for the type checker: it is a pipe
os.dup2(_reader.stdin.fileno(), 1)

from handler.app import app, handler  # noqa: E402 - see above

__all__ = ["app", "handler"]
