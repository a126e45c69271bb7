"""Releasing: publish what is packaged, track it, list what there is."""

import json

from handler.releases.store import MAX_POINTER_BYTES, Pointer
from training.delivery.pointer import read_history
from training.delivery.publish import publish
from training.delivery.store_writer import StoreWriter, read_current_pointer
from training.delivery.tracking import Tracker, TrackError
from training.errors import StageError
from training.run.files import BUNDLES
from training.run.progress import say


def list_releases(store: StoreWriter, scorer: str) -> str:
    """Every version of a scorer, the latest first, with what it is now; then the moves of its pointer."""
    pointer, _ = read_current_pointer(store, scorer)
    roles = {getattr(pointer, role): role for role in ("previous", "shadow", "current")} if pointer else {}
    versions = store.names(f"{scorer}/bundles")
    released = [json.loads(store.read(f"{scorer}/releases/{one}.json", MAX_POINTER_BYTES)) for one in versions]
    columns = "{:13} {:9} {:20} {:9} {:>7} {:>7} {:>9} {:>7}  {}"
    headings = ("version", "now", "released", "commit", "AP", "recall", "precision", "alerts", "by")
    lines = [f"{scorer} in {store}", columns.format(*headings)]
    for one in sorted(released, key=lambda one: (one["at"], one["version"]), reverse=True):
        metrics = [f"{one['metrics'][name]:.4f}" for name in ("average_precision", "recall", "precision", "alert_rate")]
        commit, _, changes = (one["commit"] or "none").partition("+")
        lines.append(
            columns.format(
                one["version"],
                roles.get(one["version"], ""),
                one["at"],
                commit[:7] + ("+" if changes else ""),
                *metrics,
                one["by"],
            )
        )
    for past in reversed(read_history(store, scorer)):
        shadow = f", shadow {past.shadow}" if past.shadow else ""
        why = f": {past.reason}" if past.reason else ""
        lines.append(f"{past.at} {past.action} -> {past.current}{shadow}, by {past.by}{why}")
    return "\n".join(lines)


def packaged_version(scorer: str) -> str:
    """The version that is packaged here."""
    path = BUNDLES / scorer / "manifest.json"
    try:
        version: str = json.loads(path.read_bytes())["version"]
    except OSError as error:
        raise StageError(
            f"{path} cannot be read: {error.strerror}; `make train` packages, VERSION= names another"
        ) from error
    return version


def announce_update(scorer: str, pointer: Pointer) -> None:
    """Tell of a move, and bring MLflow's aliases into step."""
    say(f"{scorer}: current {pointer.current}, previous {pointer.previous}, shadow {pointer.shadow}")
    try:
        Tracker().point(scorer, pointer)
    except TrackError as error:
        say(f"WARNING: the store is moved, MLflow is not in step. {error}")


def release_packaged(store: StoreWriter, scorers: list[str], signing_key: str) -> None:
    """Publish what is packaged of these scorers, and track it."""
    for scorer in scorers:
        version = publish(store, BUNDLES / scorer, signing_key)
        say(f"{scorer}: {version} is in {store}{', signed' if signing_key else ''}; `make promote` lets it serve")
        try:
            tracker = Tracker()
            say(f"{scorer}: run {tracker.track(scorer)} at {tracker.address}")
        except TrackError as error:
            say(f"WARNING: it is released, but not tracked. {error}")
