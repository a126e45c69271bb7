"""The quality of decisions for each category that has enough rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from handler.scoring.features import Features
from training.evaluation.intervals import effective_share, grouped_share_interval, ratio_interval
from training.run.matrix import FeatureMatrix, Floats, Labels, Matrix, Positions

MIN_ROWS = 200
MIN_FRAUDS = 10
# With fewer legitimate rows of a group, or of all others, their false positive rates are not compared.
MIN_LEGITIMATE = 50
COLUMNS = [
    *("feature", "segment", "rows", "frauds", "fraud_rate", "predicted_rate", "alert_rate"),
    *("recall", "recall_low", "recall_high"),
    *("false_positive_rate", "false_positive_rate_low", "false_positive_rate_high"),
    *("false_positive_ratio", "false_positive_ratio_low", "false_positive_ratio_high"),
]
UNKNOWN = "(missing)"
Members = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Decisions:
    """Decisions on labelled rows: their probabilities, and the threshold from which they are flagged."""

    probability: Floats
    label: Labels
    threshold: float
    groups: Positions | None = None
    """The number of each row's entity, if one is declared."""


def segment_table(
    features: Features,
    rows: Matrix | FeatureMatrix,
    decisions: Decisions,
    audited: Mapping[str, npt.NDArray[Any]] | None = None,
) -> pd.DataFrame:
    """One row per category with at least MIN_ROWS rows, "(missing)" included; rates with 95 % intervals.

    Recall is empty if a segment has fewer than MIN_FRAUDS frauds. `audited` are columns that the model does not see;
    for their values the table also has the ratio of their false positive rate to that of all other rows.
    """
    probability, groups = decisions.probability, decisions.groups
    is_flagged, is_fraud = probability >= decisions.threshold, decisions.label == 1
    segments = []
    for feature, name, member in chain(_segments(features, rows), _groups(audited or {})):
        if (n := int(member.sum())) < MIN_ROWS:
            continue
        frauds, legitimate = member & is_fraud, member & ~is_fraud
        segments.append(
            {
                "feature": feature,
                "segment": name,
                "rows": n,
                "frauds": int(frauds.sum()),
                "fraud_rate": float(is_fraud[member].mean()),
                "predicted_rate": float(probability[member].mean()),
                "alert_rate": float(is_flagged[member].mean()),
                **_share("recall", is_flagged, frauds, groups, least=MIN_FRAUDS),
                **_share("false_positive_rate", is_flagged, legitimate, groups),
                **(parity(is_flagged, member, ~is_fraud, groups) if feature in (audited or {}) else {}),
            }
        )
    return pd.DataFrame(segments, columns=COLUMNS)


def _segments(features: Features, rows: Matrix | FeatureMatrix) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Each category of each feature: the feature's name, the category's, and a mask of its rows."""
    for index, (name, labels) in enumerate(zip(features.names, features.labels, strict=True)):
        if labels is None:
            continue
        column = rows[:, index]
        for code, category in enumerate(labels):
            yield name, category, column == code
        yield name, UNKNOWN, np.isnan(column)


def _groups(audited: Mapping[str, npt.NDArray[Any]]) -> Iterator[tuple[str, str, Members]]:
    """Each value of each audited column that has at least MIN_ROWS rows, and UNKNOWN, with a mask of its rows."""
    for name, values in audited.items():
        codes, texts = pd.factorize(values)
        large = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(texts)) >= MIN_ROWS)
        for code in sorted(large.tolist(), key=lambda code: str(texts[code])):
            yield name, str(texts[code]), codes == code
        yield name, UNKNOWN, codes < 0


def parity(flagged: Members, member: Members, legitimate: Members, groups: Positions | None) -> dict[str, float | None]:
    """A group's false positive rate as a multiple of that of all other rows, with its interval; 1 is parity.

    All None if either rate rests on fewer than MIN_LEGITIMATE independent rows (`effective_share`), or is 0.
    """
    own, n_own = effective_share(flagged, member & legitimate, groups)
    other, n_other = effective_share(flagged, ~member & legitimate, groups)
    if not own or not other or min(n_own, n_other) < MIN_LEGITIMATE:
        return dict.fromkeys(COLUMNS[-3:])
    return dict(zip(COLUMNS[-3:], (own / other, *ratio_interval(own, n_own, other, n_other)), strict=True))


def _share(
    name: str, hits: npt.NDArray[np.bool_], cases: npt.NDArray[np.bool_], groups: Positions | None, *, least: int = 1
) -> dict[str, Any]:
    """The share of the cases that are hits, with its interval; all None if there are fewer than `least` cases."""
    if cases.sum() < least:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    low, high = grouped_share_interval(hits, cases, groups)
    return {name: float(hits[cases].mean()), f"{name}_low": low, f"{name}_high": high}
