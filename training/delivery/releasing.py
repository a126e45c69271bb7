"""Publish packaged bundles, track them, list releases and pointer updates."""

import json

from handler.releases.store import MAX_POINTER_BYTES, Pointer
from handler.scoring.bundle import MANIFEST
from training.delivery.pointer import read_history
from training.delivery.publish import publish
from training.delivery.store_writer import StoreWriter, read_current_pointer
from training.delivery.tracking import Tracker, TrackError
from training.errors import StageError
from training.run.files import BUILD, BUNDLES, JUDGED
from training.run.progress import say

# The metrics that the list of releases shows.
SHOWN = ("average_precision", "recall", "precision", "alert_rate")


def list_releases(store: StoreWriter, scorer: str) -> str:
    """Every version of a scorer with its role, the latest first; then the updates of its pointer."""
    pointer, _ = read_current_pointer(store, scorer)
    roles = {getattr(pointer, role): role for role in ("previous", "shadow", "current")} if pointer else {}
    versions = store.names(f"{scorer}/bundles")
    notes = [json.loads(store.read(f"{scorer}/releases/{version}.json", MAX_POINTER_BYTES)) for version in versions]
    columns = "{:13} {:9} {:20} {:9} {:>7} {:>7} {:>9} {:>7}  {}"
    headings = ("version", "now", "released", "commit", "AP", "recall", "precision", "alerts", "by")
    lines = [f"{scorer} in {store}", columns.format(*headings)]
    for note in sorted(notes, key=lambda note: (note["at"], note["version"]), reverse=True):
        metrics = [f"{note['metrics'][name]:.4f}" for name in SHOWN]
        commit, _, changes = (note["commit"] or "none").partition("+")
        lines.append(
            columns.format(
                note["version"],
                roles.get(note["version"], ""),
                note["at"],
                commit[:7] + ("+" if changes else ""),
                *metrics,
                note["by"],
            )
        )
    for update in reversed(read_history(store, scorer)):
        shadow = f", shadow {update.shadow}" if update.shadow else ""
        reason = f": {update.reason}" if update.reason else ""
        named = update.lists if update.action == "lists" else update.current
        lines.append(f"{update.at} {update.action} -> {named}{shadow}, by {update.by}{reason}")
    return "\n".join(lines)


def packaged_version(scorer: str) -> str:
    """The version of the packaged bundle."""
    path = BUNDLES / scorer / "manifest.json"
    try:
        version: str = json.loads(path.read_bytes())["version"]
    except OSError as error:
        raise StageError(
            f"{path} cannot be read: {error.strerror}; `make train` packages a bundle, VERSION= names a released one"
        ) from error
    return version


def announce_update(scorer: str, pointer: Pointer) -> None:
    """Print an updated pointer, and set MLflow's aliases accordingly."""
    say(f"{scorer}: current {pointer.current}, previous {pointer.previous}, shadow {pointer.shadow}")
    try:
        Tracker().point(scorer, pointer)
    except TrackError as error:
        say(f"WARNING: the store is updated, but MLflow is not: {error}")


def release_packaged(store: StoreWriter, scorers: list[str], signing_key: str) -> None:
    """Publish the packaged bundles of these scorers, and track them."""
    for scorer in scorers:
        if (judged := BUILD / scorer / JUDGED / MANIFEST).exists():
            twin = publish(store, judged.parent, signing_key)
            say(f"{scorer}: {twin}, the twin that has not seen the test window, is in {store} for the gate to judge")
        version = publish(store, BUNDLES / scorer, signing_key)
        signed = ", signed" if signing_key else ""
        say(f"{scorer}: {version} is in {store}{signed}; `make promote` puts it into production")
        try:
            tracker = Tracker()
            say(f"{scorer}: run {tracker.track(scorer)} at {tracker.address}")
        except TrackError as error:
            say(f"WARNING: {version} is released, but not tracked: {error}")
