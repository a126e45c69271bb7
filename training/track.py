"""Track: a run in MLflow for each trained scorer, its bundle as a version of a registered model, and their aliases.

MLFLOW_TRACKING_URI names a server; without it a SQLite file here, mlflow.db, keeps them. The store is what serves:
where MLflow cannot be reached, that is told, and `make track` brings it into step later.
"""

import os

from handler.releases.store import MissingError, StoreError, read_pointer
from training.declaration import read_params
from training.delivery.store_writer import open_store_writer
from training.delivery.tracking import STORE, Tracker
from training.run.command import one_line_errors
from training.run.progress import say


def main() -> None:
    """Track what is built of every declared scorer, and bring the aliases into step with the store: `make track`."""
    tracker = Tracker()
    store = open_store_writer(os.environ.get("STORE") or STORE)
    for name in read_params().scorers:
        say(f"{name}: run {tracker.track(name)} at {tracker.address}")
        try:
            tracker.point(name, read_pointer(store, name))
        except MissingError:
            say(f"{name}: nothing of it is released in {store}")


if __name__ == "__main__":
    with one_line_errors("track", StoreError):
        main()
