"""Recompute the answers of a history from the prediction log: `make history-check SCORER=... LOG=...`.

The report says for each feature how many recorded values are equal to the recomputed ones, and why the others differ.
PAST=state.parquet gives what was known before the log begins. Exit status 1 if a difference has no explanation.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from math import inf, isnan
from pathlib import Path

from handler.records.record import keyed_hash
from handler.scoring.contract import Contract
from handler.scoring.entity_state import EntityPast
from handler.scoring.past import RequestPast
from handler.scoring.times import iso_text
from training.data.state_file import StateFile, declared_history
from training.declaration import declared_scorer
from training.errors import DataError, StageError, counted
from training.monitoring.log_files import read_lines
from training.monitoring.log_lines import merged_kinds
from training.monitoring.past_log import Exchange, PastLog, exchange_of, keyed_state, read_past_log
from training.monitoring.past_replay import CAUSES, UNKNOWN, Compared, KeyReplay, checked_feature
from training.run.command import one_line_errors
from training.run.progress import progress, say

# How many unexplained differences are shown.
SHOWN = 5


@dataclass
class Findings:
    """What the comparison found, by feature."""

    equal: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    def add(self, name: str, compared: Compared, exchange: Exchange, key: str) -> None:
        """Count one feature of one exchange of a key."""
        recorded, computed, cause = compared
        if not cause:
            self.equal[name] += 1
            return
        kind = self.missing if isnan(recorded) else self.extra if isnan(computed) else self.other
        kind[name] += 1
        self.causes[cause] += 1
        if cause == UNKNOWN and len(self.unexplained) < SHOWN:
            when = f"{iso_text(exchange.event.time)}, {key}"
            self.unexplained.append(f"{name} of {when}: recorded {recorded:.10g}, computed {computed:.10g}")


def check(
    log: PastLog, name: str, contract: Contract, states: Mapping[tuple[int, str], bytes], as_of: float | None
) -> Findings:
    """Compare a log's exchanges with those recomputed from it, starting from the states as of a time, if any."""
    findings, history = Findings(), declared_history(name, contract)
    begins, entity_names = log.begins if as_of is None else -inf, list(history.entities)

    @cache
    def fold_of(number: int, usual: float) -> EntityPast:
        return RequestPast(name, contract, history.learned(history.label_delay_days, usual)).entity(number)

    for (number, key), lines in progress(log.exchanges.items(), "keys", total=len(log.exchanges)):
        fold = fold_of(number, 0.0)
        features = [checked_feature(feature, history, fold, begins) for feature in fold.names]
        since = -inf if as_of is None else as_of
        replay = KeyReplay(partial(fold_of, number), states.get((number, key)), log.frauds, features, since)
        # A log line may be delivered twice.
        for exchange, compared in replay.compare(list(map(exchange_of, dict.fromkeys(lines)))):
            for feature, of_feature in zip(fold.names, compared, strict=True):
                findings.add(feature, of_feature, exchange, f"{entity_names[number]} {key}")
    return findings


def states_before(file: StateFile, past: RequestPast, log: PastLog, key: bytes) -> dict[tuple[int, str], bytes]:
    """The states, before the log, of the keys to check; raises StageError if the file has states, but none of these."""
    states = {}
    for batch in file.states(1_000):
        for stored in batch:
            named = stored.entity, keyed_hash(stored.key, key)
            if named in log.exchanges:
                states[named] = keyed_state(past.entity(stored.entity), stored, key)
    if not states and file.n_keys:
        raise StageError(
            f"{file.path} has none of the log's keys; PREDICTIONS_KEY must be the one that the function had when it "
            "recorded them"
        )
    return states


def left_out(log: PastLog) -> str:
    """How many lines of a log the check leaves out, by kind."""
    return ", ".join(f"{kind}: {number:,}" for kind, number in merged_kinds(log.counts).items() if number)


def text_of(name: str, log: PastLog, findings: Findings, features: Iterable[str]) -> str:
    """The findings of the check, as a table and in words."""
    columns = {"equal": findings.equal, "missing": findings.missing, "extra": findings.extra, "other": findings.other}
    lines = [f"{name}: {counted(log.n_requests, 'request')} with a past", ""]
    lines.append(f"{'feature':<32}" + "".join(f"{column:>12}" for column in columns))
    lines += [f"{feature:<32}" + "".join(f"{of[feature]:>12,}" for of in columns.values()) for feature in features]
    n_different = findings.causes.total()
    why = ", ".join(f"{cause}: {findings.causes[cause]:,}" for cause in CAUSES if findings.causes[cause])
    lines += ["", f"{counted(n_different, 'difference')}{f' ({why})' if why else ''}"]
    lines += [f"  {text}" for text in findings.unexplained]
    return "\n".join([*lines, *([f"left out: {others}"] if (others := left_out(log)) else [])])


def check_log(name: str, address: str, past_file: str, key: bytes) -> tuple[str, bool]:
    """The findings on a scorer's log as text, and whether all is explained; raises StageError or DataError."""
    contract = declared_scorer(name).contract
    history = declared_history(name, contract)
    past = RequestPast(name, contract, history)
    if past_file and not key:
        raise StageError(
            "PAST needs the function's PREDICTIONS_KEY in the environment; without it the log's keys cannot be found "
            "in the file"
        )
    file = StateFile(Path(past_file), name, contract) if past_file else None
    log = read_past_log(read_lines(address), name, past, list(history.entities))
    if not log.n_requests:
        raise DataError(
            f"{address} holds no prediction of {name} with its past ({left_out(log) or 'it is empty'}); the function "
            "records the past if PREDICTIONS, PREDICTIONS_KEY and HISTORY are set and no field that the history reads "
            "is private: omit"
        )
    states = states_before(file, past, log, key) if file else {}
    findings = check(log, name, contract, states, file.as_of if file else None)
    return text_of(name, log, findings, past.names), not findings.causes[UNKNOWN]


def main() -> None:
    """Print what the log shows; exit with status 1 if a difference has no explanation."""
    parser = argparse.ArgumentParser(prog="python -m training.history_check", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("log")
    parser.add_argument("--past", default="", help="a state.parquet of make history: what was known before the log")
    options = parser.parse_args()
    if not options.scorer or not options.log:
        parser.error("SCORER and LOG must be given: make history-check SCORER=... LOG=predictions")
    with one_line_errors(f"history-check {options.scorer}", OSError):
        text, is_explained = check_log(
            options.scorer, options.log, options.past, os.environ.get("PREDICTIONS_KEY", "").encode()
        )
    say(text)
    sys.exit(0 if is_explained else 1)


if __name__ == "__main__":
    main()
