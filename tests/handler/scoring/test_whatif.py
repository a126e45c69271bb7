"""What-if answers: the change that is named leaves the band, and no smaller one does."""

import json
from collections.abc import Callable, Iterator
from itertools import combinations, count, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from benchmarks.variants import write_variant
from handler.scoring import whatif
from handler.scoring.calibration import log_odds_to_probability
from handler.scoring.contract import Contract
from handler.scoring.features import build_features
from handler.scoring.fields import DeclaredField
from handler.scoring.scorer import Scored, Scorer, load_scorer
from handler.scoring.trees import Split, Tree, float32, sum_of, trees_of
from handler.scoring.whatif import WhatIf, _position
from tests.handler.deployment import BUNDLES

CHANGEABLE = {
    "transaction": ("amount_usd", "gas_price", "avg_tx_value", "chain"),
    "refund": ("amount", "refunds", "years_active"),
}


@pytest.fixture(scope="module", params=["transaction", "refund"])
def changing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """A shipped scorer some of whose fields may change."""
    name, folder = request.param, tmp_path_factory.mktemp("changing")
    contract = json.loads((BUNDLES / name / "manifest.json").read_text())["contract"]
    for field in CHANGEABLE[name]:
        contract["fields"][field]["changeable"] = True
    write_variant(BUNDLES / name, folder / name, contract=contract)
    scorer = load_scorer(folder / name)
    scorer.whatif = WhatIf(scorer)
    return scorer


def drawn(scorer: Scorer, n: int, seed: int) -> Iterator[tuple[BaseModel, Scored]]:
    """Flagged requests with values between the percentiles of the training rows, some of them missing."""
    rng, reference = np.random.default_rng(seed), scorer.bundle.reference
    names = scorer.bundle.features.names
    while n:
        request = scorer.golden_request(scorer.bundle.golden[int(rng.integers(20))])
        for place, (name, field) in enumerate(scorer.contract.columns.items()):
            if rng.random() < 0.4:
                continue
            if field.type in {"number", "money", "count"}:
                value = float(np.quantile(reference[name]["percentiles"], rng.random()))
                value = {"money": round(value, 2), "count": int(value)}.get(field.type, value)
            elif field.type == "category":
                value = str(rng.choice((scorer.bundle.features.labels[place] or ("",))[1:]))
            else:
                continue
            vars(request)[name] = None if rng.random() < 0.1 and not field.required else value
        assert len(names) > 0
        if (scored := scorer.score(request)).is_flagged:
            n -= 1
            yield request, scored


def leaves(scored: Scored, result: Scored) -> bool:
    """Whether a result is in a lower band."""
    order = ("approve", "review", "block")
    return order.index(str(result.band)) < order.index(str(scored.band))


def applied(scorer: Scorer, request: BaseModel, changes: list[dict[str, Any]]) -> Scored:
    """The score of a request after changes, as a caller would send it."""
    aliases = {field.alias or name: name for name, field in scorer.contract.fields.items()}
    copy = request.model_copy()
    vars(copy).update({aliases[change["field"]]: change["to"] for change in changes})
    return scorer.score(copy)


def distance(scorer: Scorer, name: str, now: Any, to: Any) -> float:  # noqa: ANN401 - a request's values
    """The share of the training rows between two values."""
    percentiles = scorer.bundle.reference[name].get("percentiles")
    if now is None or not percentiles:
        return 1.0
    return abs(_position(percentiles, float(to)) - _position(percentiles, float(now)))


def test_the_change_leaves_the_band(changing: Scorer) -> None:
    """Twelve flagged requests of each scorer are changed and scored again; `make bench-whatif` does so with 2,000."""
    n_found = 0
    for request, scored in drawn(changing, 12, seed=1):
        answer = changing.whatif.answer(request, scored)
        if not answer["changes"]:
            assert answer["sentence"].startswith("no change of one or two of ")
            continue
        n_found += 1
        result = applied(changing, request, answer["changes"])
        assert leaves(scored, result)
        assert (result.probability, result.band) == (answer["probability"], answer.get("band"))
        assert len({change["field"] for change in answer["changes"]}) == len(answer["changes"]) <= 2
    assert n_found > 8


def grid(scorer: Scorer, request: BaseModel, name: str) -> list[Any]:
    """Many values of a field, near every threshold of its own feature and drawn between all of them."""
    field, place = scorer.contract.fields[name], list(scorer.contract.columns).index(name)
    if field.type == "category":
        return [label for label in (scorer.bundle.features.labels[place] or ())[1:] if label != vars(request)[name]]
    edges = sum_of(trees_of(scorer.bundle.booster.model_json())).thresholds()[place]
    rng = np.random.default_rng(2)
    values = [value for edge in edges for value in (edge * (1 - 1e-6), edge, edge * (1 + 1e-6))]
    values += np.quantile(scorer.bundle.reference[name]["percentiles"], rng.random(200)).tolist()
    kinds: dict[str, Callable[[float], float]] = {"money": lambda v: round(v, 2), "count": round}
    snapped = {kinds.get(field.type, float)(value) for value in values}
    return [value for value in snapped if field.lowest <= value <= field.highest]


def far(scorer: Scorer, request: BaseModel, fields: tuple[str, ...], values: tuple[Any, ...]) -> float:
    """The sum of the distances of some fields' new values from those of a request."""
    now = vars(request)
    return sum(distance(scorer, name, now[name], value) for name, value in zip(fields, values, strict=True))


def test_no_smaller_change_would_do(changing: Scorer) -> None:
    """Brute force tries the thresholds and values between them: of one field, or of two if one does not suffice."""
    names = CHANGEABLE[changing.bundle.scorer]
    for request, scored in drawn(changing, 8, seed=3):
        answer = changing.whatif.answer(request, scored)
        aliases = {field.alias or name: name for name, field in changing.contract.fields.items()}
        best = sum(
            distance(changing, aliases[change["field"]], change["value"], change["to"]) for change in answer["changes"]
        )
        n_told = len(answer["changes"]) or 3
        for n_fields in (1, 2):
            if n_fields > n_told:
                break
            for fields in combinations(names, n_fields):
                grids = [grid(changing, request, name) for name in fields]
                if n_fields == 2:
                    rng = np.random.default_rng(4)
                    grids = [[values[place] for place in rng.permutation(len(values))[:40]] for values in grids]
                nearer = [
                    values
                    for values in product(*grids)
                    if n_fields < n_told or far(changing, request, fields, values) < best - 1e-6
                ]
                copies = [request.model_copy() for _ in nearer]
                for copy, values in zip(copies, nearer, strict=True):
                    vars(copy).update(zip(fields, values, strict=True))
                for values, result in zip(nearer, changing.scores(copies) if copies else (), strict=True):
                    assert not leaves(scored, result), (fields, values, answer)


def test_the_bound_leaves_out_nothing(changing: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same change is found if the bound rules nothing out."""
    drawn_here = list(drawn(changing, 3, seed=5))
    answers = [changing.whatif.answer(request, scored) for request, scored in drawn_here]
    monkeypatch.setattr(whatif, "TOLERANCE", float("inf"))
    assert [changing.whatif.answer(request, scored) for request, scored in drawn_here] == answers


class TreeScorer:
    """A minimal scorer for a search: it sums hand-written trees and flags a positive sum."""

    threshold, block = 0.5, None
    scored, band, scaled, scale = Scorer.scored, Scorer.band, Scorer.scaled, None
    probability = staticmethod(log_odds_to_probability)

    def __init__(self, fields: dict[str, Any], trees: list[Tree], **features: Any) -> None:  # noqa: ANN401 - declarations
        """Declare fields and features; the percentiles of every field run evenly from 0 to 100."""
        declared = {"route": "/x", "answer": "probability", "id": None, "fields": fields, "features": features}
        self.contract = Contract.model_validate(declared, strict=False)
        self._sum = sum_of(trees)
        encoded, percentiles = build_features(self.contract, {}), {"percentiles": [float(n) for n in range(101)]}
        self.bundle = SimpleNamespace(features=encoded, booster=self, reference=dict.fromkeys(fields, percentiles))
        self.whatif = WhatIf(self)  # type: ignore[arg-type]  # a stand-in

    def model_json(self) -> list[Tree]:
        """The trees, which `trees_of` takes as they are."""
        return list(self._sum.trees)

    def margin(self, vector: list[float]) -> float:
        """The sum of the leaves."""
        return self._sum.resolved([float32(value) for value in vector], ()).rest

    def changed_margins(self, vector: list[float], changes: list[dict[int, float]]) -> list[float]:
        """The margins of the vector after each change."""
        return [self.margin([c.get(at, value) for at, value in enumerate(vector)]) for c in changes]

    def told(self, ends: float = np.inf, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - a request's values
        """The what-if answer for a request."""
        vector = self.bundle.features.encode(tuple(values.values()))
        scored = self.scored(vector, self.margin(vector))  # type: ignore[arg-type]  # a stand-in
        assert scored.is_flagged
        return self.whatif.answer(SimpleNamespace(**values), scored, ends)  # type: ignore[arg-type]  # as above


@pytest.fixture
def tree_scorer(monkeypatch: pytest.MonkeyPatch) -> type[TreeScorer]:
    """The class, with `trees_of` replaced so that it takes trees as they are."""
    monkeypatch.setattr(whatif, "trees_of", list)
    return TreeScorer


def from_on(feature: int, threshold: float, below: Tree, above: Tree, missing: Tree = 1.0) -> Split:
    """A node that sends values from the threshold on to `above`."""
    return Split(feature, float32(threshold), None, below, above, missing)


@pytest.mark.parametrize(("kind", "edge", "now"), [("money", 279_188.875, 360_000.0), ("count", 4e7, 50_000_000)])
def test_numbers_that_float32_rounds(tree_scorer: type[TreeScorer], kind: str, edge: float, now: float) -> None:
    """Neighbours are more than a cent, or than 1, apart: the threshold is crossed all the same, and only just."""
    scorer = tree_scorer({"a": {"type": kind, "changeable": True, "min": 0}}, [from_on(0, edge, -1.0, 1.0)])
    (change,) = scorer.told(a=now)["changes"]
    assert edge - 4 < change["to"] < edge


def test_a_factor_near_0_is_no_error(tree_scorer: type[TreeScorer]) -> None:
    """No value of the other factor would suffice."""
    fields = {"a": {"type": "money", "changeable": True, "min": 0}, "b": {"type": "number", "min": 0}}
    scorer = tree_scorer(fields, [from_on(2, 1e6, 1.0, -1.0)], ab={"product": ["a", "b"]})
    assert scorer.told(a=5.0, b=3e-302)["changes"] == []


def test_a_pair_that_passes_between_the_ends_of_stretches(tree_scorer: type[TreeScorer]) -> None:
    """At the near ends of both stretches the ratio is too small."""
    fields = {name: {"type": "money", "changeable": True, "min": 0} for name in "ab"}
    tree = from_on(0, 20.0, from_on(1, 10.0, 1.0, from_on(2, 1.5, 1.0, -1.0)), 1.0)
    changes = tree_scorer(fields, [tree], ab={"ratio": ["a", "b"]}).told(a=8.0, b=25.0)["changes"]
    to = {change["field"]: change["to"] for change in changes}
    assert to["a"] < 20
    assert to["b"] >= 10
    assert to["a"] / to["b"] >= 1.5


@pytest.mark.parametrize(("bounds", "to"), [({"min": 1, "max": 5}, 1.0), ({"min": -9, "max": -2}, -2.0), ({}, 0.0)])
def test_any_value_in_place_of_none(tree_scorer: type[TreeScorer], bounds: dict[str, float], to: float) -> None:
    """A missing value becomes the valid one nearest to 0, wherever the thresholds are."""
    scorer = tree_scorer({"a": {"type": "number", "changeable": True, **bounds}}, [from_on(0, 99.0, -1.0, 1.0)])
    assert [change["to"] for change in scorer.told(a=None)["changes"]] == [to]


def test_what_the_bound_rules_out_takes_time_too(tree_scorer: type[TreeScorer]) -> None:
    """A search whose time is up says so, before the first field."""
    scorer = tree_scorer({"a": {"type": "number", "changeable": True}}, [from_on(0, 9.0, 2.0, 1.0)])
    assert "complete" not in scorer.told(a=1.0)
    assert scorer.told(ends=0.0, a=1.0)["complete"] is False


def test_position_among_the_training_rows() -> None:
    """Positions are linear between percentiles and beyond them; equal percentiles make a jump."""
    percentiles = [0.0, 10.0, 10.0, 30.0]
    positions = [_position(percentiles, value) for value in (-15.0, 0.0, 5.0, 10.0, 20.0, 30.0, 60.0)]
    assert positions == pytest.approx([-0.5, 0.0, 1 / 6, 1 / 3, 5 / 6, 1.0, 2.0])


@pytest.mark.parametrize("kind", ["text", "date", "key"])
def test_what_nobody_can_change(kind: str) -> None:
    """A text is an item's name, a key names somebody, and a date has happened."""
    text = {"categories": "item_kind", "catalogue": "data/items.csv"} if kind == "text" else {}
    with pytest.raises(ValidationError, match="changeable is for number, money, count, category, flag"):
        DeclaredField.model_validate({"type": kind, "changeable": True, **text})


def test_a_field_that_the_history_looks_up_cannot_change(refund: Scorer) -> None:
    """Nobody knows what the past of another value is."""
    content = refund.contract.model_dump(mode="json")
    content["fields"]["account_id"] = {"type": "category", "alias": "accountId", "changeable": True}
    with pytest.raises(ValidationError, match=r"fields\.account_id is changeable, but the history looks up only the"):
        Contract.model_validate(content, strict=False)


def test_a_contract_without_changes_is_as_before(refund: Scorer) -> None:
    """Its bundle does not have the key, so its version does not change."""
    assert "changeable" not in json.dumps(refund.contract.model_dump(mode="json"))
    assert Path(BUNDLES / "refund").exists()


def test_a_search_that_is_cut_short_says_so(changing: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change found by then leaves the band, but may not be the smallest; the first check of the time may end it."""
    n_found = 0
    for request, scored in drawn(changing, 8, seed=3):
        at_once = changing.whatif.answer(request, scored, 0.0)
        assert (at_once["changes"], at_once["complete"]) == ([], False)
        assert at_once["sentence"] == "the search ran out of time before it found a change; not every change was tried"
        whole = changing.whatif.answer(request, scored)
        assert "complete" not in whole
        clock = count()
        monkeypatch.setattr(whatif, "monotonic", lambda clock=clock: next(clock))
        for ends in (1, 3, 7, 12):
            answer = changing.whatif.answer(request, scored, ends + next(clock))
            if answer["changes"] and "complete" in answer:
                n_found += 1
                assert leaves(scored, applied(changing, request, answer["changes"]))
                assert answer["sentence"].endswith("; a smaller change may exist, because the search ran out of time")
        monkeypatch.undo()
    assert n_found > 0
