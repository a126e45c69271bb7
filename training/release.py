"""Publish a packaged bundle or write its documents, promote, roll back, set a shadow, list releases, write a card."""

import argparse
import os
from pathlib import Path

from handler.releases.store import StoreError
from handler.scoring.bundle import BundleError
from handler.scoring.scorer import load_scorer
from training.declaration import declared_scorer, read_declarations
from training.delivery.documents import release_documents
from training.delivery.pointer import promote, roll_back, set_shadow
from training.delivery.release_facts import release_facts
from training.delivery.releasing import announce_update, list_releases, packaged_version, release_packaged
from training.delivery.runtime_packages import read_runtime_packages
from training.delivery.store_writer import STORE, StoreWriter, open_store_writer, read_current_pointer
from training.errors import StageError
from training.report.release_card import release_page
from training.run.command import one_line_errors
from training.run.files import BUILD, BUNDLES, write_bytes, write_json, write_text
from training.run.progress import say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.release", description=__doc__)
    parser.add_argument("--store", default=os.environ.get("STORE") or STORE, help="a folder, or s3://bucket/prefix")
    commands = parser.add_subparsers(dest="command", required=True)
    release = commands.add_parser("release", help="publish the packaged bundle (of every scorer, if none is named)")
    release.add_argument("--signing-key", default="", help="a PEM file with an Ed25519 key, or kms:KEY-ID")
    updates = [commands.add_parser(name) for name in ("promote", "rollback", "shadow")]
    card = commands.add_parser("card", help="write the card of a release, for whoever approves or audits it")
    card.add_argument("--version", default="", help="by default the current one")
    card.add_argument("--out", default="", help="a folder; by default release-cards")
    documents = commands.add_parser("documents", help="write the OpenAPI document and the SBOM of the packaged bundle")
    documents.add_argument("--out", default="", help="a folder; by default release-documents")
    listed = commands.add_parser("list", help="list versions and pointer updates")
    for command in (release, documents, *updates, card, listed):
        command.add_argument("--scorer", default="")
    for command in updates:
        command.add_argument("--version", default="")
    for command in updates[:2]:
        command.add_argument(
            "--force", default="", metavar="REASON", help="overrule the objections; the reason is kept"
        )
    updates[0].add_argument("--rows", type=Path, help="the rows to judge by; by default the test window")
    return parser


def _run(options: argparse.Namespace) -> None:
    scorers = [options.scorer] if options.scorer else list(read_declarations().scorers)
    for scorer in scorers:
        declared_scorer(scorer)
    if options.command == "documents":
        say("\n".join(map(str, _write_documents(scorers, options.out or "release-documents"))))
        return
    store = open_store_writer(options.store)
    if options.command == "release":
        release_packaged(store, scorers, options.signing_key)
        return
    if options.command == "list":
        if not any(store.names(scorer) for scorer in scorers):
            raise StageError(
                f"there is no store at {store}, or it holds no release of {' or '.join(scorers)}; publish one with "
                "`make release`, or name another store with STORE="
            )
        say("\n\n".join(list_releases(store, scorer) for scorer in scorers))
        return
    if len(scorers) > 1:
        raise StageError(f"SCORER= must name one of {', '.join(scorers)}")
    (scorer,) = scorers
    if options.command == "card":
        say(_write_card(store, scorer, options.version, options.out or "release-cards"))
        return
    if options.command == "promote":
        rows = options.rows or BUILD / scorer / "rows" / "test.parquet"
        pointer = promote(store, scorer, options.version or packaged_version(scorer), rows, force=options.force or None)
    elif options.command == "rollback":
        pointer = roll_back(store, scorer, options.version or None, force=options.force or None)
    else:
        version = options.version or packaged_version(scorer)
        pointer = set_shadow(store, scorer, None if version == "none" else version)
    announce_update(scorer, pointer)


def _made_folder(out: str) -> Path:
    """The folder that OUT names, created if it is missing; raises StageError if a file is in its place."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StageError(f"OUT is {out}, but a file is in the way; it must name a folder") from error
    return Path(out)


def _write_documents(scorers: list[str], out: str) -> list[Path]:
    """Write the documents of the packaged bundles, as a release would, and return their paths."""
    packages, contents = read_runtime_packages(), dict[str, bytes]()
    for scorer in scorers:
        name = f"{scorer}-{packaged_version(scorer)}"
        documents = release_documents(load_scorer(BUNDLES / scorer), packages)
        contents |= {f"{name}.{ending}": content for ending, content in documents.items()}
    folder = _made_folder(out)
    for file, content in contents.items():
        write_bytes(folder / file, content)
    return [folder / file for file in contents]


def _write_card(store: StoreWriter, scorer: str, version: str, out: str) -> str:
    """Write the release card of a version, by default the current one, and return where it is."""
    pointer, _ = read_current_pointer(store, scorer)
    if not (version := version or (pointer and pointer.current) or ""):
        raise StageError(f"no version of {scorer} is in production; set VERSION= to one that `make releases` lists")
    card = release_facts(store, declared_scorer(scorer), scorer, version)
    markdown, html = release_page(card)
    path = _made_folder(out) / f"{scorer}-{version}"
    write_text(path.with_suffix(".md"), markdown)
    write_text(path.with_suffix(".html"), html)
    write_json(path.with_suffix(".json"), card.content())
    return f"{path}.md, .html and .json"


def main() -> None:
    """Run the command that the command line names."""
    options = _parser().parse_args()
    with one_line_errors(options.command, StoreError, BundleError, OSError):
        _run(options)


if __name__ == "__main__":
    main()
