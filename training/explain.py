"""Explain a recorded decision: `make explain SCORER=refund ID=r-17 LOG=predictions`.

The version that made the decision recomputes it from the recorded features. The recorded and the recomputed
probability, what follows from it, and the contributions are compared to the last bit. Without ID all decisions of the
log are compared and counted. Exit status 1 if any decision differs.
"""

import argparse
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.records.record import keyed_hash
from handler.releases.store import StoreError
from handler.scoring.bundle import MANIFEST, BundleError
from handler.scoring.scorer import Scored, Scorer, load_scorer
from handler.scoring.sentence import reason_sentence
from handler.scoring.times import END_OF_TIMES, iso_text
from training.declaration import declared_scorer
from training.delivery.serving import released_scorer
from training.delivery.store_writer import open_store_writer
from training.errors import DataError, StageError, counted
from training.monitoring.log import UnusableError, prediction_of
from training.monitoring.log_files import read_lines
from training.monitoring.log_lines import OUTCOMES, PREDICTIONS, read_records
from training.run.command import one_line_errors
from training.run.files import BUNDLES, write_text
from training.run.progress import say

EQUAL, DIFFERENT, UNKNOWN = "recomputed equal", "recomputed different", "not recomputed"
# The keys of a record that are compared with the recomputed result.
COMPARED = ("probability", "flagged", "threshold", "band", "block", "score", "base", "contributions")
SHOWN = 5

Record = dict[str, Any]


class UncomputableError(ValueError):
    """Raised with the reason if a recorded decision cannot be recomputed."""


@dataclass(frozen=True)
class Explained:
    """A recorded decision, and how it compares with what its version computes from the recorded features."""

    record: Record
    verdict: str
    """EQUAL, DIFFERENT or UNKNOWN."""
    why: str = ""
    """What differs, or why it was not recomputed."""
    reasons: Sequence[Record] = ()
    """By falling absolute contribution, each feature's field, value, contribution, sentence; none if not recomputed."""
    outcomes: Sequence[Record] = ()
    base: float | None = None
    """The log-odds before any reason, recomputed."""

    @property
    def content(self) -> Record:
        """The content as JSON holds it."""
        return {
            "record": self.record,
            "comparison": self.verdict,
            "why": self.why or None,
            "base_log_odds": self.base,
            "reasons": list(self.reasons),
            "outcomes": list(self.outcomes),
        }


class Versions:
    """The versions of a scorer, each loaded once: the packaged one, and those of the store."""

    def __init__(self, name: str, address: str) -> None:
        """Look for versions of the scorer in the store at an address."""
        self._name, self._address = name, address
        self._loaded: dict[str, Scorer | UncomputableError] = {}
        folder = BUNDLES / name
        if (folder / MANIFEST).exists():
            packaged = load_scorer(folder)
            self._loaded[packaged.version] = packaged

    def scorer(self, version: str) -> Scorer:
        """The scorer of a version; raises UncomputableError if it cannot be loaded."""
        if version not in self._loaded:
            self._loaded[version] = self._released(version)
        if isinstance(loaded := self._loaded[version], UncomputableError):
            raise loaded
        return loaded

    def _released(self, version: str) -> Scorer | UncomputableError:
        try:
            return released_scorer(open_store_writer(self._address), self._name, version)
        except (StageError, StoreError, BundleError) as error:
            return UncomputableError(
                f"version {version} is not packaged in {BUNDLES / self._name} and cannot be read from the store: "
                f"{error}"
            )


def vector_of(scorer: Scorer, recorded: Record, key: bytes) -> list[float]:
    """The feature vector of a record to explain; raises UncomputableError if the record does not determine it."""
    features = scorer.bundle.features
    vector = []
    for name, labels in zip(features.names, features.labels, strict=True):
        if name not in recorded:
            is_private = name not in {recorded_name for _, recorded_name, _ in scorer.recorded_features}
            what = (
                "private: omit"
                if is_private
                else "private: hash, and the function had no PREDICTIONS_KEY"
                if name in scorer.hashed_features
                else "the record is incomplete"
            )
            raise UncomputableError(f"{name} is not in the record ({what})")
        value = recorded[name]
        if value is None:
            vector.append(math.nan)
        elif labels is None:
            vector.append(float(value))
        else:
            levels = [keyed_hash(label, key) for label in labels] if name in scorer.hashed_features else list(labels)
            if value not in levels:
                raise UncomputableError(
                    f"{name} has a value that version {scorer.version} does not know; if it is hashed, "
                    "PREDICTIONS_KEY must be the function's"
                )
            vector.append(float(levels.index(value)))
    return vector


def scored_again(scorer: Scorer, vector: list[float]) -> Scored:
    """The version's result for a feature vector, with contributions."""
    margin = scorer.bundle.booster.margin(vector)
    (scored,) = scorer.explained((scorer.scored(vector, margin),), every=True)
    return scored


def explained(record: Record, versions: Versions, key: bytes, outcomes: Sequence[Record] = ()) -> Explained:
    """A record explained: compared with what its version computes from its features."""
    try:
        prediction_of(record, latest=math.inf)
        scorer = versions.scorer(record["version"])
        vector = vector_of(scorer, record["features"], key)
    except (UncomputableError, UnusableError) as error:
        return Explained(record, UNKNOWN, str(error), outcomes=outcomes)
    scored = scored_again(scorer, vector)
    shares, features = scored.contributions or (), scorer.bundle.features
    shown = {name: shares[place] for place, name, _ in scorer.recorded_features}
    again = {
        "probability": scored.probability,
        "flagged": scored.is_flagged,
        "threshold": scorer.threshold,
        "band": scored.band,
        "block": scorer.block,
        "score": scored.score,
        "base": scorer.base_log_odds(scored.margin, shown.values()),
        "contributions": shown,
    }
    # Older records have fewer keys, and records of requests that are not flagged have no contributions.
    different = [name for name in COMPARED if name in record and record[name] != again[name]]
    why = "; ".join(f"{name}: recorded {record[name]!r}, recomputed {again[name]!r}" for name in different)
    reasons = [
        {
            "field": features.names[place],
            "value": scorer.display(place, vector[place]),
            "contribution": shares[place],
            "sentence": reason_sentence(features, scorer.bundle.reference, place, vector[place], shares[place]),
        }
        for place in sorted(range(len(shares)), key=lambda place: -abs(shares[place]))
    ]
    verdict = DIFFERENT if different else EQUAL
    return Explained(record, verdict, why, reasons, outcomes, scorer.base_log_odds(scored.margin, shares))


def in_words(decision: Explained) -> str:
    """A decision as lines of text, which no recorded value can break or forge."""
    record = decision.record
    lines = [f"{record['scorer']} {record.get('id')}, {_time(record)}, version {record.get('version')}"]
    verdict = record.get("band") or ("flagged" if record.get("flagged") else "not flagged")
    thresholds = [f"{name} from {record[key]} on" for key, name in _thresholds(record)]
    lines.append(f"  probability {record.get('probability')}: {verdict} ({', '.join(thresholds) or 'no threshold'})")
    if record.get("score") is not None:
        lines.append(f"  score {record['score']}")
    if isinstance(control := record.get("control"), dict) and control.get("let_through") is True:
        lines.append(f"  let through anyway, as part of the control group (share {control.get('share')})")
    if "list" in record:
        lines.append(f"  decided by a list: {record['list']}")
    sources = {name: record[name] for name in ("gateway_request", "function_request", "trace") if name in record}
    lines += [f"  {name.replace('_', ' ')} {value}" for name, value in sources.items()]
    lines.append(f"  {decision.verdict}{f': {decision.why}' if decision.why else ''}")
    if decision.reasons:
        lines.append(f"  log-odds before any reason {decision.base:+.4f}, then")
        lines += [f"    {reason['contribution']:+.4f}  {reason['sentence']}" for reason in decision.reasons]
    lines += [f"  {_outcome_text(outcome)}" for outcome in decision.outcomes]
    return "\n".join(map(_printable, lines))


def _printable(text: str) -> str:
    """A text with its line breaks and other unprintable characters escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _time(record: Record, key: str = "time") -> str:
    """A time of a record in ISO format, or the recorded value as it is if that is not a time."""
    seconds = record.get(key)
    return iso_text(seconds) if isinstance(seconds, int | float) and abs(seconds) < END_OF_TIMES else str(seconds)


def _thresholds(record: Record) -> Iterator[tuple[str, str]]:
    if "threshold" in record:
        yield "threshold", "review" if "block" in record else "flagged"
    if "block" in record:
        yield "block", "block"


def _outcome_text(outcome: Record) -> str:
    label = outcome.get("label")
    what = {0: "legitimate", 1: "fraud"}.get(label, str(label)) if isinstance(label, int) else str(label)
    said = [str(outcome.get("source", "unknown source"))]
    said += [f"by {outcome['by']}"] if "by" in outcome else []
    said += [f"at {_time(outcome, 'at')}"] if "at" in outcome else []
    said += [str(outcome["note"])] if "note" in outcome else []
    return f"outcome of {_time(outcome)}: {what} ({', '.join(said)})"


def decisions(name: str, lines: Iterable[bytes], identifier: str, versions: Versions, key: bytes) -> list[Explained]:
    """The decisions about an id, each with the id's outcomes; if the id is empty, all decisions, without outcomes."""
    matching, outcomes = list[Record](), list[Record]()
    for kind, record in read_records(lines, name):
        if kind == PREDICTIONS and (not identifier or str(record.get("id")) == identifier):
            matching.append(record)
        elif kind == OUTCOMES and identifier and str(record.get("id")) == identifier:
            outcomes.append(record)
    return [explained(record, versions, key, outcomes) for record in matching]


def summary_of_comparison(name: str, compared: Sequence[Explained]) -> str:
    """How many explained decisions are equal, different or not recomputed, and the first ones that are not equal."""
    versions = Counter(str(decision.record.get("version")) for decision in compared)
    verdicts = Counter(decision.verdict for decision in compared)
    counts = ", ".join(f"{verdicts[verdict]:,} {verdict}" for verdict in (EQUAL, DIFFERENT, UNKNOWN))
    lines = [f"{name}: {counted(len(compared), 'decision')} of {counted(len(versions), 'version')}: {counts}"]
    others = [decision for decision in compared if decision.verdict != EQUAL]
    lines += [f"  {decision.record.get('id')}: {decision.why}" for decision in others[:SHOWN]]
    return "\n".join(lines)


def run(name: str, identifier: str, address: str, store: str, key: bytes, output: str) -> tuple[str, bool]:  # noqa: PLR0913, PLR0917 - the command's options
    """The text to print, and whether no decision differs; raises StageError or DataError."""
    declared_scorer(name)
    compared = decisions(name, read_lines(address), identifier, Versions(name, store), key)
    if not compared:
        what = f"no prediction with the id {identifier!r}" if identifier else "no prediction"
        raise DataError(
            f"{address} holds {what} of {name}; an id must be as in the request, and with PREDICTIONS_RATE below 1 "
            "only some requests are recorded"
        )
    if output:
        contents = [decision.content for decision in compared]
        write_text(Path(output), json.dumps(contents, indent=1, ensure_ascii=False) + "\n")
    text = "\n\n".join(map(in_words, compared)) if identifier else summary_of_comparison(name, compared)
    return text, all(decision.verdict != DIFFERENT for decision in compared)


def main() -> None:
    """Print what was decided and why; exit with status 1 if the version computes something else."""
    parser = argparse.ArgumentParser(prog="python -m training.explain", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("log", help="a file or folder of records, or s3://bucket/prefix; gzip or not")
    parser.add_argument("--id", default="", help="the id of a request; by default all decisions of the log")
    parser.add_argument("--output", default="", help="the JSON file to write")
    parser.add_argument("--store", default=os.environ.get("STORE") or "store")
    options = parser.parse_args()
    if not options.scorer or not options.log:
        parser.error("SCORER and LOG must be given: make explain SCORER=... ID=... LOG=predictions")
    with one_line_errors(f"explain {options.scorer}", OSError):
        key = os.environ.get("PREDICTIONS_KEY", "").encode()
        text, is_equal = run(options.scorer, options.id, options.log, options.store, key, options.output)
    say(text)
    sys.exit(0 if is_equal else 1)


if __name__ == "__main__":
    main()
