"""Release: publish what is packaged, promote it, roll back, set a shadow, list what there is (`make release` ...)."""

import argparse
import json
import os
from pathlib import Path

from handler.releases.store import MAX_POINTER_BYTES, Pointer, StoreError
from handler.scoring.bundle import BundleError
from training.declaration import declared_scorer, read_params
from training.delivery.pointer import promote, read_history, roll_back, set_shadow
from training.delivery.publish import publish
from training.delivery.store_writer import Shelf, open_shelf, read_position
from training.run.command import StageError
from training.run.files import BUILD, BUNDLES
from training.run.progress import say
from training.track import STORE, Tracker, TrackError


def listing(shelf: Shelf, scorer: str) -> str:
    """Every version of a scorer, the latest first, with what it is now; then the moves of its pointer."""
    pointer, _ = read_position(shelf, scorer)
    roles = {getattr(pointer, role): role for role in ("previous", "shadow", "current")} if pointer else {}
    versions = shelf.names(f"{scorer}/bundles")
    released = [json.loads(shelf.read(f"{scorer}/releases/{one}.json", MAX_POINTER_BYTES)) for one in versions]
    columns = "{:13} {:9} {:20} {:9} {:>7} {:>7} {:>9} {:>7}  {}"
    headings = ("version", "now", "released", "commit", "AP", "recall", "precision", "alerts", "by")
    lines = [f"{scorer} in {shelf}", columns.format(*headings)]
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
    for past in reversed(read_history(shelf, scorer)):
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


def follow(scorer: str, pointer: Pointer) -> None:
    """Tell of a move, and bring MLflow's aliases into step."""
    say(f"{scorer}: current {pointer.current}, previous {pointer.previous}, shadow {pointer.shadow}")
    try:
        Tracker().point(scorer, pointer)
    except TrackError as error:
        say(f"WARNING: the store is moved, MLflow is not in step. {error}")


def release_packaged(shelf: Shelf, scorers: list[str], signing_key: str) -> None:
    """Publish what is packaged of these scorers, and track it."""
    for scorer in scorers:
        version = publish(shelf, BUNDLES / scorer, signing_key)
        say(f"{scorer}: {version} is in {shelf}{', signed' if signing_key else ''}; `make promote` lets it serve")
        try:
            tracker = Tracker()
            say(f"{scorer}: run {tracker.track(scorer)} at {tracker.address}")
        except TrackError as error:
            say(f"WARNING: it is released, but not tracked. {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.release", description=__doc__)
    parser.add_argument("--store", default=os.environ.get("STORE") or STORE, help="a folder, or s3://bucket/prefix")
    commands = parser.add_subparsers(dest="command", required=True)
    release = commands.add_parser("release", help="publish the packaged bundle (of every scorer, if none is named)")
    release.add_argument("--signing-key", default="", help="a PEM file with an Ed25519 key, or kms:KEY-ID")
    moves = [commands.add_parser(name) for name in ("promote", "rollback", "shadow")]
    for command in (release, *moves, commands.add_parser("list", help="list versions and moves")):
        command.add_argument("--scorer", default="")
    for command in moves:
        command.add_argument("--version", default="")
    for command in moves[:2]:
        command.add_argument(
            "--force", default="", metavar="REASON", help="overrule the objections; the reason is kept"
        )
    moves[0].add_argument("--rows", type=Path, help="the window to judge by; by default the evaluated one")
    return parser


def _run(asked: argparse.Namespace) -> None:
    shelf = open_shelf(asked.store)
    scorers = [asked.scorer] if asked.scorer else list(read_params().scorers)
    for scorer in scorers:
        declared_scorer(scorer)
    if asked.command == "release":
        release_packaged(shelf, scorers, asked.signing_key)
        return
    if asked.command == "list":
        say("\n\n".join(listing(shelf, scorer) for scorer in scorers))
        return
    if len(scorers) > 1:
        raise StageError(f"SCORER= must name one of {', '.join(scorers)}")
    (scorer,) = scorers
    if asked.command == "promote":
        rows = asked.rows or BUILD / scorer / "rows" / "test.parquet"
        pointer = promote(shelf, scorer, asked.version or packaged_version(scorer), rows, force=asked.force or None)
    elif asked.command == "rollback":
        pointer = roll_back(shelf, scorer, asked.version or None, force=asked.force or None)
    else:
        version = asked.version or packaged_version(scorer)
        pointer = set_shadow(shelf, scorer, None if version == "none" else version)
    follow(scorer, pointer)


def main() -> None:
    """Do what the command line asks; whatever cannot be done ends with its sentence."""
    asked = _parser().parse_args()
    try:
        _run(asked)
    except (StageError, StoreError, BundleError, OSError) as error:
        raise SystemExit(f"{asked.command}: {error}") from error


if __name__ == "__main__":
    main()
