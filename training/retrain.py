"""Retrain a scorer with new labelled rows: a new version of the data, a challenger, and the gate's verdict on it.

`make retrain SCORER=refund ROWS=new.parquet`. Without ROWS it uses the data as they are. Writes
reports/<scorer>/retrain.json and .md, and ends with the exit status 0 (the gate accepts the challenger, which now
serves unless --candidate was given), 3 (the gate refuses it), 5 (the gate cannot tell) or 4 (every row is in the data
already).
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

from filelock import FileLock, Timeout

from handler.releases.store import StoreError
from handler.scoring.bundle import BundleError
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.gate_verdict import GateMeasures, GateVerdict, Verdict
from training.delivery.pointer import RefusedError, promote, verdict_on
from training.delivery.publish import sign
from training.delivery.releasing import announce_update, packaged_version, release_packaged
from training.delivery.store_writer import STORE, StoreWriter, open_store_writer, read_current_pointer
from training.errors import DataError, StageError
from training.intake.append import UsedError, append_rows
from training.report.markdown import table
from training.report.record import ReportRecord
from training.run.command import one_line_errors
from training.run.files import BUILD, REPORTS, write_bytes, write_json, write_text, write_whole
from training.run.progress import say

DATA, LOCK = Path("data.dvc"), Path("dvc.lock")
REFUSED, NOTHING_NEW, CANNOT_TELL = 3, 4, 5
STATUS: Mapping[Verdict, int] = {"promote": 0, "refuse": REFUSED, "cannot tell": CANNOT_TELL}
INTERRUPTED = 130
# How long to wait for another DVC process, such as one that an editor starts to read the status.
LOCK_SECONDS = 15
LOCK_HELD = "Unable to acquire lock"
DVC_LOCK = Path(".dvc/tmp/lock")


def run_dvc(*arguments: str) -> str:
    """The output of a DVC command; raises StageError with DVC's own message if it fails."""
    end = monotonic() + LOCK_SECONDS
    while (done := _dvc_process(*arguments, capture_output=True)).returncode:
        message = " ".join(line.removeprefix("ERROR: ") for line in done.stderr.split("\n") if line.strip())
        if LOCK_HELD not in message:
            raise StageError(f"`dvc {' '.join(arguments)}` failed: {message}")
        # There is no pause between attempts: each waits for the lock for three seconds by itself.
        if monotonic() > end:
            process = DVC_LOCK.read_text(encoding="utf-8").strip() if DVC_LOCK.exists() else "unknown"
            raise StageError(f"another DVC process (PID {process}) is running here; wait for it, or end it: {message}")
    return done.stdout


def reproduce() -> None:
    """Run `dvc repro`, which shows what it does; raises StageError if it fails."""
    if _dvc_process("--wait-for-lock", "repro").returncode:
        raise StageError("`dvc repro` failed; its message is above")


def _dvc_process(*arguments: str, capture_output: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, check=False, text=True, capture_output=capture_output)  # noqa: S603 - this project's own DVC


@contextmanager
def retrain_lock() -> Iterator[None]:
    """Hold an exclusive lock; raise StageError if another retraining holds it."""
    path = BUILD / "retrain" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path, blocking=False).acquire()
    except Timeout as error:
        raise StageError("another retraining is running here; wait for it, or end it") from error
    with lock:
        yield


def require_pinned(scorer: ScorerDeclaration) -> None:
    """Raise StageError unless data/ is what data.dvc names, because after a failure that version is restored."""
    path = Path(scorer.data)
    for stale in path.parent.glob(f".{path.name}.*"):
        stale.unlink()  # left by a retraining that was killed
    if json.loads(run_dvc("status", "--json", str(DATA))):
        raise StageError(
            f"data/ differs from the version that {DATA} names; restore that with `dvc checkout {DATA}`, or keep the "
            f"changes with `dvc commit {DATA}`"
        )


def add_rows(name: str, scorer: ScorerDeclaration, new: Path) -> None:
    """Append a retraining's new rows to the data, and have data.dvc name the result; raises DataError if refused."""
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
    run_dvc("add", "data")


@contextmanager
def undone_on_failure() -> Iterator[None]:
    """On failure restore data/, data.dvc, dvc.lock, the reports and DVC's outputs, unless rows are only refused."""
    kept = (DATA, LOCK, *(path for path in REPORTS.rglob("*") if path.is_file()))
    before = {path: path.read_bytes() for path in kept if path.exists()}
    try:
        yield
    except DataError:
        # Rows are refused before anything is written, so there is nothing to restore.
        raise
    except BaseException:
        for path, content in before.items():
            if not path.exists() or path.read_bytes() != content:
                write_bytes(path, content)
        if LOCK not in before:
            LOCK.unlink(missing_ok=True)
        try:
            run_dvc("checkout", "--force")
            say(f"data/, {DATA}, {LOCK} and the reports were restored")
        except StageError as error:
            say(
                f"WARNING: not everything was restored: `dvc checkout {DATA}` restores the data, `dvc repro` the rest. "
                f"{error}"
            )
        raise


class RetrainReport(ReportRecord):
    """The version that retraining made, and the gate's verdict on it."""

    scorer: str
    version: str
    champion: str | None
    verdict: Verdict
    objections: tuple[str, ...]
    """The reasons against the version."""
    doubts: tuple[str, ...]
    """What the rows cannot show."""
    measured: GateMeasures


def challenge(store: StoreWriter, name: str, *, is_candidate: bool, signing_key: str = "") -> RetrainReport:
    """Release the retrained bundle, promote it if the gate accepts it and it is no candidate; return the verdict."""
    version, rows = packaged_version(name), BUILD / name / "rows" / "test.parquet"
    release_packaged(store, [name], signing_key)
    before, _ = read_current_pointer(store, name)
    champion = before.current if before else None
    if is_candidate or champion == version:
        verdict = verdict_on(store, name, before, version, rows)
    else:
        try:
            pointer = promote(store, name, version, rows)
            announce_update(name, pointer)
            verdict = GateVerdict(GateMeasures.model_validate_json(json.dumps(pointer.gate)))
        except RefusedError as refused:
            verdict = refused.verdict
    return RetrainReport(
        scorer=name,
        version=version,
        champion=champion,
        verdict=verdict.kind,
        objections=verdict.objections,
        doubts=verdict.doubts,
        measured=verdict.measured,
    ).rounded()


HEADLINES: Mapping[Verdict, str] = {
    "promote": "The gate accepts it.",
    "refuse": "The gate refuses it:",
    "cannot tell": "The gate cannot tell whether it is as good; more rows with labels would help:",
}


def pull_request_text(report: RetrainReport) -> str:
    """The verdict on a retrained bundle as Markdown, for the pull request."""
    measured = report.measured
    beside = f"compared with `{report.champion}`" if report.champion else "without a champion"
    lines = [
        f"# {report.scorer}: `{report.version}` {beside}",
        "",
        HEADLINES[report.verdict],
        *(f"- {reason}" for reason in report.objections + report.doubts),
        "",
    ]
    if measured.window:
        start, end = measured.window
        lines += [f"On {measured.rows:,} rows from {start} to {end}, {measured.frauds:,} of them frauds.", ""]
    rows = [
        [
            name.replace("_", " "),
            f"{gain.champion:.4f}",
            f"{gain.challenger:.4f}",
            f"{gain.gain:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})",
        ]
        for name, gain in measured.gains.items()
    ]
    if former := measured.best_former:
        gain = f"{former.gain:+.4f} ({former.low:+.4f} to {former.high:+.4f})"
        name = f"average precision, compared with the best release so far, `{former.version}`"
        rows.append([name, f"{former.former:.4f}", f"{former.challenger:.4f}", gain])
    if policy := measured.policy:
        name = f"{policy.name.replace('_', ' ')}, promised {policy.promised:g}"
        rows.append([name, "", f"{policy.value:.4f} ({policy.low:.4f} to {policy.high:.4f})", ""])
    if rates := measured.alert_rate:
        shares = ("" if rate is None else f"{rate:.2%}" for rate in (rates.champion, rates.challenger))
        rows.append(["alert rate", *shares, ""])
    return "\n".join(lines) + "\n" + table("lrrr", ["", "champion", "challenger", "gain (95 %)"], rows) + "\n"


def retrain(name: str, new: Path | None, address: str, *, is_candidate: bool, signing_key: str) -> Verdict:
    """Train on the data, with the new rows if there are any, and return the gate's verdict on the model."""
    scorer = declared_scorer(name)
    store = open_store_writer(address)
    # Checked before hours of training: the store can be read, and the key can sign.
    read_current_pointer(store, name)
    if signing_key:
        sign(b"{}", signing_key)
    require_pinned(scorer)
    with undone_on_failure():
        if new:
            add_rows(name, scorer, new)
        reproduce()
    report = challenge(store, name, is_candidate=is_candidate, signing_key=signing_key)
    write_json(REPORTS / name / "retrain.json", report.content())
    write_text(REPORTS / name / "retrain.md", pull_request_text(report))
    say(pull_request_text(report))
    return report.verdict


def main() -> None:
    """Retrain one scorer."""
    parser = argparse.ArgumentParser(prog="python -m training.retrain", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("--rows", default="", help="new labelled rows, .csv or .parquet, with the declared columns")
    parser.add_argument("--store", default=os.environ.get("STORE") or STORE, help="a folder, or s3://bucket/prefix")
    parser.add_argument("--candidate", action="store_true", help="release it, but do not promote it yet")
    parser.add_argument("--signing-key", default="", help="a PEM file with an Ed25519 key, or kms:KEY-ID")
    options = parser.parse_args()
    if not options.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    try:
        with one_line_errors("retrain", StoreError, BundleError, OSError), retrain_lock():
            rows = Path(options.rows) if options.rows else None
            try:
                verdict = retrain(
                    options.scorer, rows, options.store, is_candidate=options.candidate, signing_key=options.signing_key
                )
            except UsedError as error:
                say(f"retrain: {error}")
                raise SystemExit(NOTHING_NEW) from error
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(STATUS[verdict])


if __name__ == "__main__":
    main()
