"""Retrain: new labelled rows -> a new version of the data, a challenger, and the gate's word on it.

`make retrain SCORER=refund ROWS=new.parquet`. Without ROWS it goes on with the data as they are. Writes
reports/<scorer>/retrain.json and .md, and ends with the exit status 0 (the challenger serves), 3 (the gate refuses it)
or 4 (every row is in the data already).
"""

import argparse
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from handler.releases.store import StoreError
from handler.scoring.bundle import BundleError
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.gate import GAINS, GateVerdict
from training.delivery.pointer import RefusedError, promote, verdict_on
from training.delivery.publish import sign
from training.delivery.releasing import announce_update, packaged_version, release_packaged
from training.delivery.store_writer import StoreWriter, open_store_writer, read_current_pointer
from training.delivery.tracking import STORE
from training.errors import StageError
from training.intake.append import UsedError, append_rows
from training.report.markdown import table
from training.run.command import one_line_errors
from training.run.files import BUILD, REPORTS, rounded, write_bytes, write_json, write_text, write_whole
from training.run.progress import say

DATA, LOCK = Path("data.dvc"), Path("dvc.lock")
REFUSED, NOTHING_NEW = 3, 4
INTERRUPTED = 130
# What `dvc status --quiet` ends with where something differs; any other status is an error.
DIFFERS = 1


class RetrainError(StageError):
    """Raised when a model cannot be made anew."""


def dvc(*arguments: str) -> int:
    """The exit status of a DVC command, which speaks for itself."""
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False).returncode  # noqa: S603 - this project's own DVC


@contextmanager
def alone() -> Iterator[None]:
    """Nobody else retrains here meanwhile, or one would take back what the other added: that raises RetrainError."""
    path = BUILD / "retrain" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RetrainError("another retraining is under way here; wait for it, or end it") from error
        yield


def require_pinned(scorer: ScorerDeclaration) -> None:
    """Raise RetrainError where data/ is not what data.dvc names: a failure goes back to that."""
    path = Path(scorer.data)
    for stale in path.parent.glob(f".{path.name}.*"):
        stale.unlink()  # what a retraining that was killed had not finished writing
    status = dvc("status", "--quiet", str(DATA))
    if status == DIFFERS:
        raise RetrainError(
            f"data/ is not what {DATA} names: `dvc checkout {DATA}` goes back to that, `dvc commit {DATA}` keeps it"
        )
    if status:
        raise RetrainError(f"`dvc status {DATA}` failed, as it says above")


def add_rows(name: str, scorer: ScorerDeclaration, new: Path) -> None:
    """Make the data with the new rows the version that data.dvc names; raises DataError where they are refused."""
    appended = append_rows(new, scorer)
    say(
        f"{scorer.data}: {appended.rows:,} new rows, {appended.frauds:,} of them frauds, "
        f"from {appended.first} to {appended.last}"
    )
    if len(appended.quarantined):
        path = BUILD / "retrain" / f"{name}.quarantine.csv"
        rejected = appended.quarantined.set_axis(appended.quarantined.index + 1, axis="index")
        write_whole(path, partial(rejected.to_csv, index_label="rejected_row"))
        say(f"{len(appended.quarantined):,} rows break the contract and are left out; they are in {path}")
    if dvc("add", "--quiet", "data"):
        raise RetrainError("`dvc add data` failed, as it says above")


@contextmanager
def undone_on_failure() -> Iterator[None]:
    """Whatever fails, data/, data.dvc, dvc.lock and the reports are as they were, and what DVC has of what is built."""
    kept = (DATA, LOCK, *(path for path in REPORTS.rglob("*") if path.is_file()))
    before = {path: path.read_bytes() for path in kept if path.exists()}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            if not path.exists() or path.read_bytes() != content:
                write_bytes(path, content)
        if LOCK not in before:
            LOCK.unlink(missing_ok=True)
        if dvc("checkout", "--quiet", "--force"):
            say(f"WARNING: not all is as it was: `dvc checkout {DATA}` brings the data back, `dvc repro` the rest")
        else:
            say(f"data/, {DATA}, {LOCK} and the reports are as they were")
        raise


def challenge(
    store: StoreWriter, name: str, *, is_candidate: bool, signing_key: str = ""
) -> tuple[dict[str, Any], GateVerdict]:
    """The gate's verdict on the packaged bundle, once it is released; without objections it serves from now on."""
    version, rows = packaged_version(name), BUILD / name / "rows" / "test.parquet"
    release_packaged(store, [name], signing_key)
    before, _ = read_current_pointer(store, name)
    champion = before and before.current
    if is_candidate or champion == version:
        verdict = verdict_on(store, name, before, version, rows)
    else:
        try:
            pointer = promote(store, name, version, rows)
            announce_update(name, pointer)
            verdict = GateVerdict(pointer.gate or {}, [])
        except RefusedError as refused:
            verdict = refused.verdict
    return {"version": version, "champion": champion}, verdict


def as_markdown(report: dict[str, Any]) -> str:
    """The verdict for whoever reads the pull request."""
    measured, objections = report["measured"], report["objections"]
    said = "The gate agrees." if not objections else "The gate refuses it:"
    champion = f"beside `{report['champion']}`" if report["champion"] else "without a champion"
    lines = [
        f"# {report['scorer']}: `{report['version']}` {champion}",
        "",
        said,
        *(f"- {one}" for one in objections),
        "",
    ]
    if "window" in measured:
        start, end = measured["window"]
        lines += [f"On {measured['rows']:,} rows from {start} to {end}, {measured['frauds']:,} of them frauds.", ""]
    rows = [
        [
            name.replace("_", " "),
            *(f"{measured[name][who]:.4f}" for who in ("champion", "challenger")),
            "{gain:+.4f} ({low:+.4f} to {high:+.4f})".format(**measured[name]),
        ]
        for name in GAINS
        if name in measured
    ]
    if "alert_rate" in measured:
        rates = (measured["alert_rate"].get(who) for who in ("champion", "challenger"))
        rows.append(["alert rate", *("" if rate is None else f"{rate:.2%}" for rate in rates), ""])
    return "\n".join(lines) + "\n" + table("lrrr", ["", "champion", "challenger", "gain (95 %)"], rows) + "\n"


def retrain(name: str, new: Path | None, address: str, *, is_candidate: bool, signing_key: str) -> bool:
    """Whether the gate agrees to the model that the data, with the new rows if there are any, make."""
    scorer = declared_scorer(name)
    store = open_store_writer(address)
    # Before hours of training: whether the store can be read, and the key signs.
    read_current_pointer(store, name)
    if signing_key:
        sign(b"{}", signing_key)
    require_pinned(scorer)
    with undone_on_failure():
        if new:
            add_rows(name, scorer, new)
        if dvc("repro"):
            raise RetrainError("`dvc repro` failed, as it says above")
    who, verdict = challenge(store, name, is_candidate=is_candidate, signing_key=signing_key)
    report = rounded(
        {
            "scorer": name,
            **who,
            "verdict": "refuse" if verdict.objections else "promote",
            "objections": verdict.objections,
            "measured": verdict.measured,
        }
    )
    write_json(REPORTS / name / "retrain.json", report)
    write_text(REPORTS / name / "retrain.md", as_markdown(report))
    say(as_markdown(report))
    return not verdict.objections


def main() -> None:
    """Retrain one scorer; whatever cannot be done ends with its sentence."""
    parser = argparse.ArgumentParser(prog="python -m training.retrain", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("--rows", default="", help="new labelled rows, .csv or .parquet, with the declared columns")
    parser.add_argument("--store", default=os.environ.get("STORE") or STORE, help="a folder, or s3://bucket/prefix")
    parser.add_argument("--candidate", action="store_true", help="release it, but let nobody serve by it yet")
    parser.add_argument("--signing-key", default="", help="a PEM file with an Ed25519 key, or kms:KEY-ID")
    asked = parser.parse_args()
    if not asked.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    try:
        with one_line_errors("retrain", StoreError, BundleError, OSError), alone():
            rows = Path(asked.rows) if asked.rows else None
            try:
                agrees = retrain(
                    asked.scorer, rows, asked.store, is_candidate=asked.candidate, signing_key=asked.signing_key
                )
            except UsedError as error:
                say(f"retrain: {error}")
                raise SystemExit(NOTHING_NEW) from error
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(0 if agrees else REFUSED)


if __name__ == "__main__":
    main()
