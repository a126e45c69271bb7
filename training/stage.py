"""What every stage has in common: how it is started, and how it stops."""

import sys
from collections.abc import Callable
from pathlib import Path


class StageError(ValueError):
    """Raised when a stage cannot go on for a reason that its user can mend."""


def run(main: Callable[[str], None]) -> None:
    """Run a stage for the scorer named on the command line; a StageError ends it with its sentence, not a traceback."""
    stage = Path(sys.argv[0]).stem
    if len(sys.argv) != 2:  # noqa: PLR2004 - the module and the scorer
        raise SystemExit(f"usage: python -m training.{stage} SCORER")
    try:
        main(sys.argv[1])
    except StageError as error:
        raise SystemExit(f"{stage} {sys.argv[1]}: {error}") from error
