"""From request to answer."""

import json
import shutil
from dataclasses import replace
from math import fsum, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.scoring.booster import Booster
from handler.scoring.bundle import BundleError, content_version, manifest_bytes
from handler.scoring.calibration import log_odds_to_probability
from handler.scoring.scorer import Scorer, load_scorer, servable_scorer, verified_scorer

RISKY: dict[str, Any] = {
    "amount_usd": 950.0,
    "gas_price": 41.5,
    "tx_count_24h": 14,
    "address_age_days": 2,
    "avg_tx_value": 60.0,
    "chain": "ETH",
    "token_type": "USDT",
    "sender_country": "US",
}
REFUND: dict[str, Any] = {"yearsActive": 1.5, "amount": 45.00, "ipAccounts": 2}
ABUSE: dict[str, Any] = {**REFUND, "refunds": 20, "item": "Pad Thai with tofu"}


def answer(scorer: Scorer, request: dict[str, Any], *, explain: bool = False) -> dict[str, Any]:
    """The answer to a JSON request."""
    return scorer.answer(scorer.request_model.model_validate_json(json.dumps(request)), explain=explain)


@given(log_odds=st.floats(min_value=-1e308, max_value=1e308))
def test_every_log_odds_is_a_probability(log_odds: float) -> None:
    """No overflow at either end."""
    assert 0.0 <= log_odds_to_probability(log_odds) <= 1.0


def log_odds(scorer: Scorer, request: dict[str, Any]) -> float:
    """The calibrated log-odds of a request, straight from the model's margin."""
    parsed = scorer.request_model.model_validate(request)
    calibration = scorer.bundle.manifest["calibration"]
    margin = scorer.bundle.booster.margin(scorer.vector(parsed))
    return float(calibration["slope"] * margin + calibration["intercept"])


@pytest.mark.parametrize("name", ["refund", "transaction"])
def test_reasons_and_base_sum_to_the_calibrated_log_odds(name: str, request: pytest.FixtureRequest) -> None:
    """Exactly, for every golden request: what an auditor would add up."""
    scorer: Scorer = request.getfixturevalue(name)
    for case in scorer.bundle.golden:
        explained = answer(scorer, case["request"], explain=True)
        total = fsum([explained["base_log_odds"], *(reason["contribution"] for reason in explained["reasons"])])
        assert total == pytest.approx(log_odds(scorer, case["request"]), rel=1e-14, abs=1e-14)


@pytest.mark.parametrize("name", ["refund", "transaction"])
def test_the_base_is_the_models_own_but_for_rounding(name: str, request: pytest.FixtureRequest) -> None:
    """The contributions alone add up as far as float32 can: the base hides no share of any feature."""
    scorer: Scorer = request.getfixturevalue(name)
    bases = [answer(scorer, case["request"], explain=True)["base_log_odds"] for case in scorer.bundle.golden]
    assert max(bases) - min(bases) < 1e-4


def test_an_explained_refund_names_rate_and_category(refund: Scorer) -> None:
    """The refund rate and the item's category are among the reasons, with values and sentences."""
    reasons = {reason["field"]: reason for reason in answer(refund, ABUSE, explain=True)["reasons"]}
    assert reasons["refund_rate"]["value"] == pytest.approx(20 / 1.5)
    assert reasons["refund_rate"]["sentence"].endswith("of past values; raises the risk")
    assert reasons["item_category"]["value"] == "Food, Perishable"


def test_a_flagged_request_says_why_unasked(transaction: Scorer) -> None:
    """A few reasons, strongest first, all of which raise the risk."""
    flagged = answer(transaction, RISKY)
    shares = [reason["contribution"] for reason in flagged["reasons"]]
    assert flagged["is_flagged"]
    assert shares == sorted(shares, reverse=True)
    assert min(shares) > 0
    assert len(shares) <= 3


def test_an_unremarkable_request_gets_a_plain_answer(refund: Scorer) -> None:
    """No reasons, no warnings; the confidence is that of the predicted class."""
    plain = answer(refund, REFUND)
    assert plain.keys() == {"prediction", "confidence", "model_version"}
    assert plain["prediction"] == 0
    assert plain["confidence"] > 0.5


def test_the_id_is_echoed_and_changes_nothing(refund: Scorer) -> None:
    """An answer can be matched to its request."""
    with_id = answer(refund, {**ABUSE, "refund_id": "r-1"})
    assert with_id.pop("refund_id") == "r-1"
    assert with_id == answer(refund, ABUSE)


def test_values_outside_training_are_warned_of(transaction: Scorer) -> None:
    """Each by name, with the value and what was seen; the request is scored all the same."""
    warned = answer(transaction, {**RISKY, "amount_usd": 1e9, "chain": "DOGE"})
    sentences = {warning["field"]: warning["sentence"] for warning in warned["warnings"]}
    assert sentences["amount_usd"].startswith("amount_usd 1,000,000,000 is outside the range seen in training")
    assert sentences["chain"] == "chain 'DOGE' is new, or was too rare in training to be learned"


def test_an_undefined_ratio_is_not_called_missing(refund: Scorer) -> None:
    """Refunds a year of a customer of no years."""
    reasons = answer(refund, {**REFUND, "yearsActive": 0, "refunds": 20}, explain=True)["reasons"]
    sentence = next(reason["sentence"] for reason in reasons if reason["field"] == "refund_rate")
    assert sentence.startswith("refund_rate cannot be computed from this request")


def test_a_batch_answers_as_one_by_one(refund: Scorer) -> None:
    """Same answers, same order."""
    requests = [refund.request_model.model_validate(request) for request in (REFUND, ABUSE, REFUND)]
    assert refund.answers(requests) == [refund.answer(request) for request in requests]
    assert refund.answers(requests, explain=True) == [refund.answer(request, explain=True) for request in requests]


def test_more_signals_of_fraud_never_look_safer_on_average(refund: Scorer) -> None:
    """Directional: ten more refunds, all else equal, raise the mean risk over the golden requests."""
    requests = [case["request"] for case in refund.bundle.golden if "refunds" in case["request"]]

    def mean_risk(more: int) -> float:
        parsed = [refund.request_model.model_validate({**r, "refunds": r["refunds"] + more}) for r in requests]
        return sum(refund.probability(refund.bundle.booster.margin(refund.vector(p))) for p in parsed) / len(parsed)

    assert mean_risk(10) > mean_risk(0)


def test_answers_fit_the_documented_model(transaction: Scorer, refund: Scorer) -> None:
    """The OpenAPI document tells the truth about every kind of answer."""
    for scorer, request in ((transaction, RISKY), (refund, REFUND), (refund, {**ABUSE, "refund_id": "r"})):
        for explain in (False, True):
            given_answer = answer(scorer, request, explain=explain)
            documented = scorer.answer_model.model_validate(given_answer)
            assert documented.model_dump(exclude_unset=True) == given_answer


def test_a_scored_request_is_answered_as_it_was_scored(refund: Scorer) -> None:
    """Who has scored it already need not do so twice, and gets the same answer."""
    requests = [refund.request_model.model_validate(request) for request in (REFUND, ABUSE)]
    scored = refund.scores(requests)
    assert refund.answers(requests, scored, explain=True) == refund.answers(requests, explain=True)
    assert refund.answer(requests[0], scored[0]) == refund.answer(requests[0])


@pytest.mark.parametrize("name", ["refund", "transaction"])
def test_a_sound_bundle_answers_its_golden_requests(name: str, request: pytest.FixtureRequest) -> None:
    """Alone and as a batch, with every reason."""
    scorer: Scorer = request.getfixturevalue(name)
    assert servable_scorer(scorer.bundle, "here").version == scorer.version


def test_without_golden_cases_nothing_is_proven(refund: Scorer) -> None:
    """So such a bundle is not served."""
    with pytest.raises(BundleError, match=r"^here has no golden cases; nothing proves that it computes what training"):
        verified_scorer(replace(refund.bundle, golden=[]), "here")


@pytest.mark.parametrize(
    "change", [{"amount": -1.0}, {"amount": None}, {"amount": "45"}, {"colour": "red"}, {"ipAccounts": 0.5}]
)
def test_a_golden_request_outside_its_own_contract_is_refused(refund: Scorer, change: dict[str, Any]) -> None:
    """It is named by its place, and not quoted."""
    golden = [*refund.bundle.golden]
    golden[3] = {**golden[3], "request": golden[3]["request"] | change}
    with pytest.raises(BundleError, match=r"^here: golden request 3 is outside the bundle's own contract$"):
        verified_scorer(replace(refund.bundle, golden=golden), "here")


def test_a_golden_probability_that_is_no_number_is_refused(refund: Scorer) -> None:
    """It would be equal to whatever is computed; JSON does not know it, though Python reads it."""
    golden = [{**case, "probability": nan} for case in refund.bundle.golden]
    with pytest.raises(BundleError):
        verified_scorer(replace(refund.bundle, golden=golden), "here")


@pytest.mark.parametrize(
    "reference",
    [{"amount": {"missing": 0.0}}, {"item_category": {"missing": 0.0, "shares": {}}}, {"refunds": {"percentiles": []}}],
    ids=["percentiles", "shares", "missing"],
)
def test_what_scores_and_cannot_explain_does_not_answer(refund: Scorer, reference: dict[str, Any]) -> None:
    """Its golden cases give their numbers, but no flagged request would get its reasons."""
    broken = replace(refund.bundle, reference={**refund.bundle.reference, **reference})
    assert verified_scorer(broken, "here").version == refund.version
    with pytest.raises(BundleError, match=r"^here scores its golden requests and cannot answer them: KeyError\("):
        servable_scorer(broken, "here")


class Wavering:
    """A booster whose contributions differ with the company that a row is in."""

    def __init__(self, booster: Booster) -> None:
        """Do as this one does otherwise."""
        self.margin, self.margins, self._booster = booster.margin, booster.margins, booster

    def contributions(self, vectors: list[list[float]]) -> list[list[float]]:
        """As the other's, and in a batch a little more of the first feature."""
        found = self._booster.contributions(vectors)
        return [[shares[0] + 0.001 * (len(vectors) > 1), *shares[1:]] for shares in found]


def test_what_answers_otherwise_in_a_batch_does_not_answer(refund: Scorer) -> None:
    """One of the two must be wrong."""
    wavering: Any = Wavering(refund.bundle.booster)
    with pytest.raises(BundleError, match=r"^here answers its golden requests differently in a batch than one by one$"):
        servable_scorer(replace(refund.bundle, booster=wavering), "here")


def test_another_calibration_than_the_golden_cases_is_refused(tmp_path: Path) -> None:
    """A bundle must compute what training computed."""
    bundles = Path(__file__).parents[3] / "build" / "bundles"
    folder = Path(shutil.copytree(bundles / "refund", tmp_path / "refund"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["calibration"]["slope"] += 0.001
    manifest["version"] = content_version(manifest)
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))
    with pytest.raises(BundleError, match=r"the golden request .* in training it gave"):
        load_scorer(folder)
