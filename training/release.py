"""Release: publish what is packaged, promote it, roll back, set a shadow, list what there is (`make release` ...)."""

import argparse
import os
from pathlib import Path

from handler.releases.store import StoreError
from handler.scoring.bundle import BundleError
from training.declaration import declared_scorer, read_params
from training.delivery.pointer import promote, roll_back, set_shadow
from training.delivery.releasing import announce_update, list_releases, packaged_version, release_packaged
from training.delivery.store_writer import open_store_writer
from training.delivery.tracking import STORE
from training.errors import StageError
from training.run.command import one_line_errors
from training.run.files import BUILD
from training.run.progress import say


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
    store = open_store_writer(asked.store)
    scorers = [asked.scorer] if asked.scorer else list(read_params().scorers)
    for scorer in scorers:
        declared_scorer(scorer)
    if asked.command == "release":
        release_packaged(store, scorers, asked.signing_key)
        return
    if asked.command == "list":
        say("\n\n".join(list_releases(store, scorer) for scorer in scorers))
        return
    if len(scorers) > 1:
        raise StageError(f"SCORER= must name one of {', '.join(scorers)}")
    (scorer,) = scorers
    if asked.command == "promote":
        rows = asked.rows or BUILD / scorer / "rows" / "test.parquet"
        pointer = promote(store, scorer, asked.version or packaged_version(scorer), rows, force=asked.force or None)
    elif asked.command == "rollback":
        pointer = roll_back(store, scorer, asked.version or None, force=asked.force or None)
    else:
        version = asked.version or packaged_version(scorer)
        pointer = set_shadow(store, scorer, None if version == "none" else version)
    announce_update(scorer, pointer)


def main() -> None:
    """Do what the command line asks; whatever cannot be done ends with its sentence."""
    asked = _parser().parse_args()
    with one_line_errors(asked.command, StoreError, BundleError, OSError):
        _run(asked)


if __name__ == "__main__":
    main()
