"""What every stage has in common: how it is started, and how it stops."""

import errno
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from training.errors import StageError

# What a disk says that takes no more: it is full, or the user's share of it is.
FULL = {errno.ENOSPC, errno.EDQUOT}


def run(main: Callable[[str], None]) -> None:
    """Run a stage for the scorer named on the command line; a StageError ends it with its sentence, not a traceback."""
    stage = Path(sys.argv[0]).stem
    if len(sys.argv) != 2:  # noqa: PLR2004 - the module and the scorer
        raise SystemExit(f"usage: python -m training.{stage} SCORER")
    try:
        main(sys.argv[1])
    except StageError as error:
        raise SystemExit(f"{stage} {sys.argv[1]}: {error}") from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise SystemExit(f"{stage} {sys.argv[1]}: there is no space left on the disk; make room: {error}") from error
    except BrokenProcessPool as error:
        raise SystemExit(
            f"{stage} {sys.argv[1]}: a process was ended, perhaps for its memory; lower compute.chunk_rows: {error}"
        ) from error
