"""What would have passed: the change that is told leaves the band, and no smaller one does."""

import json
from collections.abc import Callable, Iterator
from itertools import combinations, count, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from benchmarks.variants import write_variant
from handler.scoring import whatif
from handler.scoring.contract import Contract
from handler.scoring.fields import DeclaredField
from handler.scoring.scorer import Scored, Scorer, load_scorer
from handler.scoring.trees import sum_of, trees_of
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
    """Of 24 flagged requests each, re-scored by the function; `make bench-whatif` does so with 2,000."""
    n_found = 0
    for request, scored in drawn(changing, 24, seed=1):
        told = changing.whatif.answer(request, scored)
        if not told["changes"]:
            assert told["sentence"].startswith("no change of one or two of ")
            continue
        n_found += 1
        result = applied(changing, request, told["changes"])
        assert leaves(scored, result)
        assert (result.probability, result.band) == (told["probability"], told.get("band"))
        assert len({change["field"] for change in told["changes"]}) == len(told["changes"]) <= 2
    assert n_found > 16


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


def test_no_smaller_change_would_do(changing: Scorer) -> None:
    """By brute force over the thresholds and values between them: of one field, of two where one does not suffice."""
    names = CHANGEABLE[changing.bundle.scorer]
    for request, scored in drawn(changing, 8, seed=3):
        told = changing.whatif.answer(request, scored)
        aliases = {field.alias or name: name for name, field in changing.contract.fields.items()}
        best = sum(
            distance(changing, aliases[change["field"]], change["value"], change["to"]) for change in told["changes"]
        )
        n_told = len(told["changes"]) or 3
        for n_fields in (1, 2):
            if n_fields > n_told:
                break
            for fields in combinations(names, n_fields):
                grids = [grid(changing, request, name) for name in fields]
                if n_fields == 2:
                    rng = np.random.default_rng(4)
                    grids = [[values[place] for place in rng.permutation(len(values))[:40]] for values in grids]
                for values in product(*grids):
                    copy = request.model_copy()
                    vars(copy).update(zip(fields, values, strict=True))
                    far = sum(
                        distance(changing, name, vars(request)[name], value)
                        for name, value in zip(fields, values, strict=True)
                    )
                    if n_fields < n_told or far < best - 1e-6:
                        assert not leaves(scored, changing.score(copy)), (fields, values, told)


def test_the_bound_leaves_out_nothing(changing: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same change is told where every stretch of values is scored."""
    drawn_here = list(drawn(changing, 6, seed=5))
    told = [changing.whatif.answer(request, scored) for request, scored in drawn_here]
    monkeypatch.setattr(whatif, "TOLERANCE", float("inf"))
    assert [changing.whatif.answer(request, scored) for request, scored in drawn_here] == told


def test_position_among_the_training_rows() -> None:
    """Evenly between percentiles and beyond them; equal percentiles count as what they are."""
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
    with pytest.raises(ValidationError, match=r"fields\.account_id is changeable, and the history looks up"):
        Contract.model_validate(content, strict=False)


def test_a_contract_without_changes_is_as_before(refund: Scorer) -> None:
    """Its bundle does not name the key, so that its version stays."""
    assert "changeable" not in json.dumps(refund.contract.model_dump(mode="json"))
    assert Path(BUNDLES / "refund").exists()


def test_a_search_that_is_cut_short_says_so(changing: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it found by then leaves the band, if not by the smallest change; the first look at the clock may end it."""
    n_found = 0
    for request, scored in drawn(changing, 8, seed=3):
        at_once = changing.whatif.answer(request, scored, 0.0)
        assert (at_once["changes"], at_once["complete"]) == ([], False)
        assert at_once["sentence"] == "no change was found until the search ended early; not every one was tried"
        whole = changing.whatif.answer(request, scored)
        assert "complete" not in whole
        clock = count()
        monkeypatch.setattr(whatif, "monotonic", lambda clock=clock: next(clock))
        for ends in (1, 3, 7, 12):
            told = changing.whatif.answer(request, scored, ends + next(clock))
            if told["changes"] and "complete" in told:
                n_found += 1
                assert leaves(scored, applied(changing, request, told["changes"]))
                assert told["sentence"].endswith("; a smaller change may exist, because the search ended early")
        monkeypatch.undo()
    assert n_found > 0
