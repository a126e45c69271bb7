"""Track each trained scorer in MLflow: a run, its bundle as a version of a registered model, and the aliases.

MLFLOW_TRACKING_URI names a server; without it a local SQLite file, mlflow.db, is used. Production reads only the
store, so `make train` does not fail if MLflow cannot be reached: it prints a message, and `make track` brings MLflow up
to date later. If one scorer cannot be tracked, the others still are.
"""

import os

from handler.releases.store import MissingError, StoreError, read_pointer
from training.declaration import read_declarations
from training.delivery.store_writer import STORE, open_store_writer
from training.delivery.tracking import Tracker, TrackError, UnreachableError
from training.run.command import one_line_errors
from training.run.progress import say


def main() -> None:
    """Track the current build of every declared scorer, and set the aliases as the store says: `make track`."""
    tracker = Tracker()
    store = open_store_writer(os.environ.get("STORE") or STORE)
    failures = []
    for name in read_declarations().scorers:
        try:
            say(f"{name}: run {tracker.track(name)} at {tracker.address}")
            tracker.point(name, read_pointer(store, name))
        except MissingError:
            say(f"{name}: no version is promoted in {store}")
        except UnreachableError:
            raise
        except (TrackError, StoreError) as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise TrackError("; ".join(failures))


if __name__ == "__main__":
    with one_line_errors("track", StoreError):
        main()
