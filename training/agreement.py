"""Compare a shadow's answers in the prediction log with the champion's, in total and by segment.

`make agreement SCORER=refund LOG=predictions`. A shadow scores the champion's requests without changing any
answer, so the differences show what promoting it would change.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from training.errors import DataError, counted
from training.evaluation.calibration import log_odds
from training.evaluation.intervals import share_interval
from training.monitoring.log import NO_ID, REPEATED, Prediction, UnusableError, prediction_of
from training.monitoring.log_files import read_lines
from training.monitoring.log_lines import PREDICTIONS, broken, merged_kinds, read_records
from training.run.command import one_line_errors
from training.run.files import BUILD, rounded_floats, write_json, write_whole

FEWEST = 20
SHOWN = 10
QUARTERS = 4
# Log-odds beyond these are drawn at the plot's edge.
SHOWN_LOG_ODDS = 8.0


@dataclass(frozen=True)
class ShadowPairs:
    """Requests that a champion and a shadow both scored, and counts of the log's other lines."""

    champion: str
    shadow: str
    rows: pd.DataFrame
    """Columns: probability, flagged, blocked, the same for the shadow (shadow_probability and so on), the features."""
    counts: dict[str, int]


def read_shadow_pairs(lines: Iterable[bytes], scorer: str) -> ShadowPairs:
    """The requests whose agreement is measured: those of the latest pair of champion and shadow versions in a log.

    Raises DataError if there are fewer than FEWEST.
    """
    counts, repeatable = Counter[str](), set[tuple[Any, ...]]()
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    latest = (0.0, ("", ""))
    for kind, record in read_records(lines, scorer):
        if kind != PREDICTIONS:
            counts[kind] += 1
            continue
        try:
            prediction, shadow = _pair(record)
        except UnusableError as error:
            counts[str(error)] += 1
            continue
        versions = prediction.version, shadow.version
        result = prediction.id, versions, prediction.probability, shadow.probability
        if result in repeatable:
            counts[REPEATED] += 1
            continue
        if prediction.id != NO_ID:
            repeatable.add(result)
        latest = max(latest, (prediction.time, versions))
        pairs.setdefault(versions, []).append(_row(prediction, shadow))
    rows = pairs.pop(latest[1], [])
    counts["records of former pairs of versions"] = sum(map(len, pairs.values()))
    left_out = {name: count for name, count in merged_kinds(counts).items() if count}
    if len(rows) < FEWEST:
        raise DataError(
            f"the log holds {counted(len(rows), 'request')} of {scorer} that its latest champion and shadow both "
            f"scored; at least {FEWEST} are needed ("
            f"{', '.join(f'{name}: {count:,}' for name, count in left_out.items()) or 'it holds nothing else'})"
        )
    return ShadowPairs(*latest[1], pd.DataFrame(rows), left_out)


def _pair(record: dict[str, Any]) -> tuple[Prediction, Prediction]:
    """A prediction and its shadow's; raises UnusableError if either of them is missing or unusable."""
    prediction, shadow = prediction_of(record, latest=math.inf), record.get("shadow")
    if shadow is None:
        raise UnusableError("predictions without a shadow's")
    if not isinstance(shadow, dict):
        raise UnusableError(broken("no usable shadow"))
    if "error" in shadow:
        raise UnusableError(f"shadow failed: {shadow['error']!s:.40}")
    # Checked as a record of its own: the champion's, with the shadow's values, and None for those the shadow lacks.
    its_own = dict.fromkeys(("version", "probability", "flagged", "band")) | shadow
    return prediction, prediction_of(record | its_own, latest=math.inf)


def _row(prediction: Prediction, shadow: Prediction) -> dict[str, Any]:
    return {
        **prediction.features,
        "probability": prediction.probability,
        "flagged": prediction.flagged,
        "blocked": prediction.blocked == 1,
        "shadow_probability": shadow.probability,
        "shadow_flagged": shadow.flagged,
        "shadow_blocked": shadow.blocked == 1,
    }


def agreement(shadowed: ShadowPairs) -> dict[str, Any]:
    """Correlations, flips by direction with their 95 % intervals (Wilson), and the segments that differ most."""
    rows = shadowed.rows
    ours, theirs = (log_odds(rows[name].to_numpy(float)) for name in ("probability", "shadow_probability"))
    flags, shadow_flags = rows["flagged"].to_numpy(bool), rows["shadow_flagged"].to_numpy(bool)
    blocks, shadow_blocks = rows["blocked"].to_numpy(bool), rows["shadow_blocked"].to_numpy(bool)
    of_blocks = {}
    if blocks.any() or shadow_blocks.any():
        of_blocks = {
            "block_rate": {"champion": _share(blocks), "shadow": _share(shadow_blocks)},
            "block_flips": {
                "newly_blocked": _share(~blocks & shadow_blocks),
                "no_longer_blocked": _share(blocks & ~shadow_blocks),
            },
        }
    return {
        "champion": shadowed.champion,
        "shadow": shadowed.shadow,
        "predictions": len(rows),
        "left_out": shadowed.counts,
        "correlation": {
            "log_odds": _or_none(np.corrcoef(ours, theirs)[0, 1] if np.ptp(ours) and np.ptp(theirs) else np.nan),
            "ranks": _or_none(spearmanr(ours, theirs).statistic if np.ptp(ours) and np.ptp(theirs) else np.nan),
        },
        "alert_rate": {"champion": _share(flags), "shadow": _share(shadow_flags)},
        "flips": {"newly_flagged": _share(~flags & shadow_flags), "no_longer_flagged": _share(flags & ~shadow_flags)},
        **of_blocks,
        "segments": _segments(rows, flags != shadow_flags),
    }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _share(is_true: npt.NDArray[np.bool_]) -> dict[str, float]:
    low, high = share_interval(int(is_true.sum()), len(is_true))
    return {"count": int(is_true.sum()), "share": float(is_true.mean()), "low": low, "high": high}


def _segments(rows: pd.DataFrame, differs: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Each feature's values (numbers in quartiles), with the share of their decisions that differ.

    The segments are sorted by the lower end of the share's interval, the highest first.
    """
    segments = []
    decided = ("probability", "flagged", "blocked")
    for name in rows.columns.difference([*decided, *(f"shadow_{name}" for name in decided)], sort=False):
        for value, index in _groups(rows[name]).items():
            if len(index) >= FEWEST:
                segments.append({"feature": name, "value": value, "rows": len(index), **_share(differs[index])})
    return sorted(segments, key=lambda segment: (-segment["low"], segment["feature"], segment["value"]))


def _groups(column: pd.Series) -> dict[str, Any]:
    """The positions of each group of a feature's values."""
    if pd.api.types.is_numeric_dtype(column):
        labels = pd.qcut(column, QUARTERS, duplicates="drop").astype(str) if column.nunique() > QUARTERS else column
    else:
        labels = column
    labels = labels.astype(object).where(column.notna(), "missing").map(str)
    return {str(label): np.flatnonzero(labels == label) for label in labels.unique()}


def agreement_figure(shadowed: ShadowPairs) -> Figure:
    """The champion's log-odds against the shadow's, one dot per prediction, different decisions in colour."""
    rows = shadowed.rows
    ours, theirs = (
        log_odds(rows[name].to_numpy(float)).clip(-SHOWN_LOG_ODDS, SHOWN_LOG_ODDS)
        for name in ("probability", "shadow_probability")
    )
    differs = rows["flagged"].to_numpy(bool) != rows["shadow_flagged"].to_numpy(bool)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([-SHOWN_LOG_ODDS, SHOWN_LOG_ODDS], [-SHOWN_LOG_ODDS, SHOWN_LOG_ODDS], color="0.7", linewidth=1)
    axes.scatter(ours[~differs], theirs[~differs], s=4, color="0.4", label="same decision", rasterized=True)
    axes.scatter(ours[differs], theirs[differs], s=8, color="tab:red", label="different decision", rasterized=True)
    axes.set(
        xlabel=f"log-odds of the champion, {shadowed.champion}", ylabel=f"log-odds of the shadow, {shadowed.shadow}"
    )
    axes.legend(loc="upper left")
    return figure


def _table(report: dict[str, Any]) -> str:
    """The report's main figures, for a terminal."""
    ranks = report["correlation"]["ranks"]
    lines = [
        f"champion {report['champion']}, shadow {report['shadow']}: {report['predictions']:,} predictions",
        f"correlation of ranks: {'none' if ranks is None else f'{ranks:.4f}'}",
    ]
    shares = {**{f"flagged by the {who}": share for who, share in report["alert_rate"].items()}, **report["flips"]}
    shares |= {f"blocked by the {who}": share for who, share in report.get("block_rate", {}).items()}
    shares |= report.get("block_flips", {})
    for name, share in shares.items():
        bounds = f"{share['low']:.2%} to {share['high']:.2%}"
        lines.append(f"{name.replace('_', ' ')}: {share['count']:,}, {share['share']:.2%} ({bounds})")
    lines.append("different decisions, by segment:")
    lines += [
        "  {feature} {value}: {count:,} of {rows:,}, {share:.2%}".format(**segment)
        for segment in report["segments"][:SHOWN]
    ]
    lines += [f"left out, {name}: {count:,}" for name, count in report["left_out"].items()]
    return "\n".join(lines)


def main() -> None:
    """Write build/agreement/<scorer>.json and .svg, and print the main figures."""
    parser = argparse.ArgumentParser(prog="python -m training.agreement", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("log", help="a file or folder of prediction records, or s3://bucket/prefix; gzip or not")
    options = parser.parse_args()
    if not options.scorer:
        parser.error("SCORER= must name a scorer of params.yaml")
    with one_line_errors("agreement", OSError):
        shadowed = read_shadow_pairs(read_lines(options.log), options.scorer)
    report = rounded_floats(agreement(shadowed))
    target = BUILD / "agreement" / f"{options.scorer}.json"
    write_json(target, report)
    with mpl.rc_context({"svg.fonttype": "none"}):
        write_whole(target.with_suffix(".svg"), lambda path: agreement_figure(shadowed).savefig(path, format="svg"))
    print(_table(report))  # noqa: T201 - the command's answer
    print(f"{target}, {target.with_suffix('.svg')}")  # noqa: T201 - as above


if __name__ == "__main__":
    main()
