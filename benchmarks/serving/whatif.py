"""Whether what "would have passed" passes, on the shipped scorers' test rows: `python -m benchmarks.serving.whatif`.

Some fields are declared changeable. Each change that the function suggests for a flagged row is applied and scored
again, and must leave the band. Then a grid of changes is tried. For one field, it has the thresholds of the field's own
feature, the values on either side of them, and values drawn between the percentiles of the training rows, which also
reach the thresholds of features computed from the field. For two fields, it has all pairs of some of these values. No
change on the grid that is nearer than the suggested one may leave the band.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel
from tqdm import tqdm

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.tables import date_of, table
from benchmarks.variants import write_variant
from handler.scoring.bundle import MANIFEST
from handler.scoring.scorer import Scored, Scorer, load_scorer
from handler.scoring.times import END_OF_TIMES
from handler.scoring.trees import sum_of, trees_of
from handler.scoring.whatif import WhatIf, _position
from training.data.requests import parsed_requests
from training.run.files import BUILD, BUNDLES

CHANGEABLE = {
    "transaction": ("amount_usd", "gas_price", "avg_tx_value", "chain"),
    "refund": ("amount", "refunds", "years_active"),
}
# Flagged rows per scorer; how many of them try pairs; values of each field of a pair; drawn values per field.
SIZES = {"rows": (1_000, 3), "pairs": (40, 3), "values": (40, 4), "drawn": (200, 20)}
BANDS = ("approve", "review", "block")


def changeable_scorer(name: str, folder: Path) -> Scorer:
    """A shipped scorer with some fields declared changeable."""
    contract = json.loads((ROOT / BUNDLES / name / MANIFEST).read_text())["contract"]
    for field in CHANGEABLE[name]:
        contract["fields"][field]["changeable"] = True
    write_variant(ROOT / BUNDLES / name, folder / name, contract=contract)
    return Scorer(load_scorer(folder / name).bundle, clock=lambda: END_OF_TIMES)


def flagged_rows(scorer: Scorer, n_rows: int) -> Iterator[tuple[BaseModel, Scored]]:
    """The first flagged rows of the test window, as requests with the features of their past, and their results."""
    rows = pd.read_parquet(ROOT / BUILD / scorer.bundle.scorer / "rows" / "test.parquet")
    for request in parsed_requests(rows, scorer.contract, scorer.request_model):
        if (scored := scorer.score(request)).is_flagged:
            yield request, scored
            n_rows -= 1
            if not n_rows:
                return


def grid(scorer: Scorer, thresholds: Sequence[float], name: str, draw: np.random.Generator, n_drawn: int) -> list[Any]:
    """The values of a field: its thresholds, the values on either side of them, and drawn ones; or its categories."""
    field, place = scorer.contract.fields[name], list(scorer.contract.columns).index(name)
    if field.type == "category":
        return list((scorer.bundle.features.labels[place] or ())[1:])
    beside = [value for edge in thresholds for value in (edge * (1 - 1e-6), edge, edge * (1 + 1e-6))]
    drawn = np.quantile(scorer.bundle.reference[name]["percentiles"], draw.random(n_drawn)).tolist()
    digits = {"money": 2, "count": 0}.get(field.type)
    values = {value if digits is None else round(value, digits) for value in (*beside, *drawn)}
    return [value for value in values if field.lowest <= value <= field.highest]


def distance(scorer: Scorer, name: str, now: Any, to: Any) -> float:  # noqa: ANN401 - a request's values
    """The share of the training rows between two values of a field."""
    percentiles = scorer.bundle.reference[name].get("percentiles")
    if now is None or not percentiles:
        return 0.0 if now == to else 1.0
    return abs(_position(percentiles, float(to)) - _position(percentiles, float(now)))


def changed(request: BaseModel, changes: Mapping[str, Any]) -> BaseModel:
    """A copy of a request with changed values."""
    copy = request.model_copy()
    vars(copy).update(changes)
    return copy


def leaves(before: Scored, after: Scored) -> bool:
    """Whether a result is in a lower band."""
    return BANDS.index(str(after.band)) < BANDS.index(str(before.band))


class Grids:
    """The values that are tried, and the count of changes that are nearer than a suggested one."""

    def __init__(self, scorer: Scorer, n_drawn: int) -> None:
        """Draw the values of each changeable field."""
        draw = np.random.default_rng(1)
        thresholds = sum_of(trees_of(scorer.bundle.booster.model_json())).thresholds()
        columns = list(scorer.contract.columns)
        self._scorer, self._draw = scorer, draw
        self.values = {
            name: grid(scorer, thresholds.get(columns.index(name), []), name, draw, n_drawn)
            for name in CHANGEABLE[scorer.bundle.scorer]
        }

    def nearer(
        self, request: BaseModel, scored: Scored, distance_of_answer: float, n_fields: int, most: int = 0
    ) -> tuple[int, int]:
        """How many changes of `n_fields` fields were tried, and how many nearer ones leave the band."""
        n_tried = n_nearer = 0
        for names in combinations(self.values, n_fields):
            grids = [self.values[name] for name in names]
            if most:
                grids = [[values[at] for at in self._draw.permutation(len(values))[:most]] for values in grids]
            tried = list(product(*grids))
            far = [
                sum(distance(self._scorer, n, vars(request)[n], v) for n, v in zip(names, values, strict=True))
                for values in tried
            ]
            near = [values for values, how_far in zip(tried, far, strict=True) if how_far < distance_of_answer - 1e-6]
            requests = [changed(request, dict(zip(names, values, strict=True))) for values in near]
            n_tried += len(tried)
            n_nearer += sum(leaves(scored, after) for after in self._scorer.scores(requests)) if requests else 0
        return n_tried, n_nearer


def measured(name: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The changes suggested for a scorer's flagged rows, whether they hold, and how long they took."""
    with TemporaryDirectory() as folder:
        scorer = changeable_scorer(name, Path(folder))
        whatif, grids = WhatIf(scorer), Grids(scorer, sizes["drawn"])
        aliases = {field.alias or field_name: field_name for field_name, field in scorer.contract.fields.items()}
        counts = dict.fromkeys(("one", "two", "none", "left", "tried", "nearer"), 0)
        seconds = []
        rows = tqdm(flagged_rows(scorer, sizes["rows"]), name, total=sizes["rows"], disable=None)
        for number, (request, scored) in enumerate(rows):
            begin = perf_counter()
            answer = whatif.answer(request, scored)
            seconds.append(perf_counter() - begin)
            changes = {aliases[change["field"]]: change["to"] for change in answer["changes"]}
            counts[("none", "one", "two")[len(changes)]] += 1
            counts["left"] += bool(changes) and leaves(scored, scorer.score(changed(request, changes)))
            distance_of_answer = sum(distance(scorer, field, vars(request)[field], to) for field, to in changes.items())
            tried, nearer = grids.nearer(request, scored, distance_of_answer if len(changes) == 1 else np.inf, 1)
            if number < sizes["pairs"] and len(changes) != 1:
                of_pairs = grids.nearer(request, scored, distance_of_answer if changes else np.inf, 2, sizes["values"])
                tried, nearer = tried + of_pairs[0], nearer + of_pairs[1]
            counts["tried"] += tried
            counts["nearer"] += nearer
    times = 1000 * np.array(seconds)
    return {
        "rows": len(times),
        **counts,
        "p50": float(np.median(times)),
        "p99": float(np.percentile(times, 99)),
        "slowest": float(times.max()),
    }


def whatif_table(report: Mapping[str, Any]) -> str:
    """The suggested changes, by scorer."""
    of = [report[name] for name in CHANGEABLE]

    def row(title: str, text: str) -> list[str]:
        return [title, *(text.format(**each, told=each["one"] + each["two"]) for each in of)]

    rows = [
        row("flagged test rows", "{rows:,}"),
        row("suggested change: one field, two fields, none", "{one:,}, {two:,}, {none:,}"),
        row("suggested changes that leave the band", "{left:,} of {told:,}"),
        row("changes tried on the grid, how many are nearer and leave the band", "{tried:,}, {nearer:,}"),
        row("milliseconds: median, p99, slowest", "{p50:.1f}, {p99:,.0f}, {slowest:,.0f}"),
    ]
    return table([f"`python -m benchmarks.serving.whatif` on {date_of(report)}", *CHANGEABLE], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and end with an error if a suggested change is wrong."""
    options = options_of("serving.whatif", __doc__, SIZES, arguments)
    report = {"machine": machine(), **{name: measured(name, vars(options)) for name in CHANGEABLE}}
    print(whatif_table(report))
    wrong = []
    for name in CHANGEABLE:
        each = report[name]
        if (n_stayed := each["one"] + each["two"] - each["left"]) or each["nearer"]:
            wrong.append(f"{name}: {n_stayed} suggested changes do not leave the band, {each['nearer']} nearer ones do")
    keep("whatif", report, options, wrong)


if __name__ == "__main__":
    main()
