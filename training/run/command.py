"""The command line of a stage; and one line and exit status 1 for errors that the user can repair."""

import errno
import io
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from training.errors import StageError

# A full disk, or a user's full quota.
FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def one_line_errors(
    prefix: str,
    *others: type[Exception],
    place: str = "on the disk",
    chunk_rows: str = "compute.chunk_rows",
    hint: str = "",
) -> Iterator[None]:
    """Turn errors that the user can repair into one line on stderr and exit status 1; others keep their traceback.

    These are StageError, a full disk, a killed worker process, and `others`. For a full disk the line names its
    `place`; for a killed process, `chunk_rows`, the option that makes chunks smaller. For both, `hint` says how to go
    on afterwards.
    """
    # A terminal that cannot show a character gets its code instead.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except BrokenProcessPool as error:
        raise SystemExit(
            f"{prefix}: a worker process was ended, perhaps because memory ran out; lower {chunk_rows}{hint}: {error}"
        ) from error
    except OSError as error:
        if error.errno in FULL:
            raise SystemExit(f"{prefix}: there is no space left {place}; make room{hint}: {error}") from error
        if isinstance(error, others):
            raise SystemExit(f"{prefix}: {error}") from error
        raise
    except Exception as error:
        if isinstance(error, (StageError, *others)):
            raise SystemExit(f"{prefix}: {error}") from error
        raise


def run(main: Callable[[str], None]) -> None:
    """Run a stage for the scorer named on the command line, with `one_line_errors`."""
    stage = Path(sys.argv[0]).stem
    if len(sys.argv) != 2:  # noqa: PLR2004 - the module and the scorer
        raise SystemExit(f"usage: python -m training.{stage} SCORER")
    with one_line_errors(f"{stage} {sys.argv[1]}"):
        main(sys.argv[1])
