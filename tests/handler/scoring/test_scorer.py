"""A request's answer: its numbers, its reasons, and the bundles that must not answer."""

import json
import shutil
from dataclasses import replace
from math import fsum, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.variants import rewrite_manifest, write_variant
from handler.scoring.booster import Booster, library_version
from handler.scoring.bundle import BundleError, bundle_version, manifest_bytes
from handler.scoring.calibration import log_odds_to_probability
from handler.scoring.scorer import Scorer, load_scorer, load_scorers, servable_scorer, verified_scorer
from tests.handler.deployment import BUNDLES

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


def deciding(tmp_path: Path, name: str, review: float, block: float | None) -> Scorer:
    """A shipped scorer that flags from the probability `review` on and, if `block` is given, blocks from that on."""
    decision: dict[str, Any] = {"policy": {"recall": 0.9}, "threshold": review}
    if block is not None:
        decision["block"] = {"policy": {"precision": 0.9}, "threshold": block}
    write_variant(BUNDLES / name, tmp_path / name, decision=decision)
    return load_scorer(tmp_path / name)


@pytest.mark.parametrize("name", ["transaction", "refund"])
def test_bands_are_approve_review_and_block(tmp_path: Path, name: str) -> None:
    """A band begins at its threshold, singly and in a batch; all else is unchanged, and what is blocked is flagged."""
    request = RISKY if name == "transaction" else ABUSE
    shipped = load_scorer(BUNDLES / name)
    probability = shipped.score(shipped.request_model.model_validate(request)).probability
    above = float(np.nextafter(probability, 1))
    for review, block, band in (
        (above, above, "approve"),
        (probability, above, "review"),
        (probability, probability, "block"),
        (probability / 2, probability, "block"),
    ):
        scorer = deciding(tmp_path / f"{band} {review}", name, review, block)
        plain = deciding(tmp_path / f"{band} {review} plain", name, review, None)
        parsed = scorer.request_model.model_validate(request)
        given = scorer.answer(parsed)
        assert given.pop("band") == band
        assert scorer.answers([parsed]) == [given | {"band": band}]
        assert scorer.answer_model.model_validate(given | {"band": band}).band == band  # type: ignore[attr-defined]  # made at run time
        assert bool(given[scorer.verdict]) == (band != "approve")
        assert plain.answer(parsed) == given | {"model_version": plain.version}
        assert "band" not in plain.answer_model.model_fields


def test_a_score_counts_what_the_probability_exceeds(tmp_path: Path) -> None:
    """It is 0 to 1000, in answers and their model, singly and in a batch; without a declaration there is none."""
    shipped = load_scorer(BUNDLES / "refund")
    parsed = shipped.request_model.model_validate(ABUSE)
    given = shipped.answer(parsed)
    probability, decision = shipped.score(parsed).probability, dict(shipped.bundle.manifest["decision"])
    assert "score" not in given
    assert "score" not in shipped.answer_model.model_fields
    for n_exceeded in (0, 1, 617, 1000):
        scale = [probability / 2] * n_exceeded + [probability] * (1000 - n_exceeded)
        folder = tmp_path / str(n_exceeded)
        write_variant(BUNDLES / "refund", folder, scale=scale, decision=decision | {"score": 1000})
        scorer = load_scorer(folder)
        expected = given | {"score": n_exceeded, "model_version": scorer.version}
        assert scorer.answer(parsed) == scorer.answers([parsed])[0] == expected
        assert scorer.answer_model.model_validate(expected).score == n_exceeded  # type: ignore[attr-defined]  # made at run time


def test_reasons_and_base_sum_to_the_calibrated_log_odds(scorer: Scorer) -> None:
    """An auditor can add them up for every golden request, to the precision of float64.

    The base is the model's and includes no share of a feature: it differs between requests only by the rounding of
    contributions, which are float32.
    """
    bases = []
    for case in scorer.bundle.golden:
        explained = answer(scorer, case["request"], explain=True)
        bases.append(explained["base_log_odds"])
        total = fsum([bases[-1], *(reason["contribution"] for reason in explained["reasons"])])
        assert total == pytest.approx(log_odds(scorer, case["request"]), rel=1e-14, abs=1e-14)
    assert max(bases) - min(bases) < 1e-4


def test_an_explained_refund_names_rate_and_category(refund: Scorer) -> None:
    """The refund rate and the item's category are among the reasons, with values and sentences."""
    reasons = {reason["field"]: reason for reason in answer(refund, ABUSE, explain=True)["reasons"]}
    assert reasons["refund_rate"]["value"] == pytest.approx(20 / 1.5)
    assert reasons["refund_rate"]["sentence"].endswith("of past values; raises the risk")
    assert reasons["item_category"]["value"] == "Food, Perishable"


def test_a_flagged_request_always_has_reasons(transaction: Scorer) -> None:
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
    assert plain.keys() == {"prediction", "confidence", "band", "model_version"}
    assert plain["prediction"] == 0
    assert plain["confidence"] > 0.5


def test_the_id_is_echoed_and_changes_nothing(refund: Scorer) -> None:
    """An answer can be matched to its request."""
    with_id = answer(refund, {**ABUSE, "refund_id": "r-1"})
    assert with_id.pop("refund_id") == "r-1"
    assert with_id == answer(refund, ABUSE)


def test_an_undefined_ratio_is_not_called_missing(refund: Scorer) -> None:
    """Refunds per year of a customer with 0 years."""
    reasons = answer(refund, {**REFUND, "yearsActive": 0, "refunds": 20}, explain=True)["reasons"]
    sentence = next(reason["sentence"] for reason in reasons if reason["field"] == "refund_rate")
    assert sentence.startswith("refund_rate cannot be computed from this request")


def test_a_batch_answers_as_one_by_one(refund: Scorer) -> None:
    """Same answers, same order; requests that were scored before have the same answers too."""
    requests = [refund.request_model.model_validate(request) for request in (REFUND, ABUSE, REFUND)]
    scored = refund.scores(requests)
    assert refund.answer(requests[0], scored[0]) == refund.answer(requests[0])
    for explain in (False, True):
        alone = [refund.answer(request, explain=explain) for request in requests]
        assert refund.answers(requests, explain=explain) == alone
        assert refund.answers(requests, scored, explain=explain) == alone


def test_more_signals_of_fraud_never_look_safer_on_average(refund: Scorer) -> None:
    """Directional: ten more refunds, all else equal, raise the mean risk over the golden requests."""
    requests = [case["request"] for case in refund.bundle.golden if "refunds" in case["request"]]

    def mean_risk(more: int) -> float:
        parsed = [refund.request_model.model_validate({**r, "refunds": r["refunds"] + more}) for r in requests]
        return sum(refund.probability(refund.bundle.booster.margin(refund.vector(p))) for p in parsed) / len(parsed)

    assert mean_risk(10) > mean_risk(0)


def test_answers_fit_the_documented_model(transaction: Scorer, refund: Scorer) -> None:
    """The OpenAPI document describes every kind of answer."""
    for scorer, request in ((transaction, RISKY), (refund, REFUND), (refund, {**ABUSE, "refund_id": "r"})):
        for explain in (False, True):
            response = answer(scorer, request, explain=explain)
            documented = scorer.answer_model.model_validate(response)
            assert documented.model_dump(exclude_unset=True) == response


def test_a_sound_bundle_answers_its_golden_requests(scorer: Scorer) -> None:
    """Alone and as a batch, with every reason."""
    assert servable_scorer(scorer.bundle, "here").version == scorer.version


def test_a_bundle_without_golden_cases_is_refused(refund: Scorer) -> None:
    """Nothing proves its numbers."""
    with pytest.raises(BundleError, match=r"^here has no golden cases; nothing proves that it computes what training"):
        verified_scorer(replace(refund.bundle, golden=[]), "here")


@pytest.mark.parametrize(
    "change", [{"amount": -1.0}, {"amount": None}, {"amount": "45"}, {"colour": "red"}, {"ipAccounts": 0.5}]
)
def test_a_golden_request_outside_its_own_contract_is_refused(refund: Scorer, change: dict[str, Any]) -> None:
    """It is named by its position, and not quoted."""
    golden = [*refund.bundle.golden]
    golden[3] = {**golden[3], "request": golden[3]["request"] | change}
    with pytest.raises(BundleError, match=r"^here: golden request 3 is outside the bundle's own contract$"):
        verified_scorer(replace(refund.bundle, golden=golden), "here")


def test_a_golden_probability_that_is_nan_is_refused(refund: Scorer) -> None:
    """JSON has no NaN, but Python reads it, and a comparison with it must not pass."""
    golden = [{**case, "probability": nan} for case in refund.bundle.golden]
    with pytest.raises(BundleError):
        verified_scorer(replace(refund.bundle, golden=golden), "here")


@pytest.mark.parametrize(
    "reference",
    [{"amount": {"missing": 0.0}}, {"item_category": {"missing": 0.0, "shares": {}}}, {"refunds": {"percentiles": []}}],
    ids=["percentiles", "shares", "missing"],
)
def test_a_bundle_that_scores_and_cannot_explain_is_refused(refund: Scorer, reference: dict[str, Any]) -> None:
    """Its golden cases have the right numbers, but no flagged request would have reasons."""
    broken = replace(refund.bundle, reference={**refund.bundle.reference, **reference})
    assert verified_scorer(broken, "here").version == refund.version
    with pytest.raises(BundleError, match=r"^here can score its golden requests but cannot answer them: KeyError\("):
        servable_scorer(broken, "here")


class Inconsistent:
    """A booster whose contributions are different in a batch."""

    def __init__(self, booster: Booster) -> None:
        """Wrap another booster."""
        self.margin, self.margins, self._booster = booster.margin, booster.margins, booster

    def contributions(self, vectors: list[list[float]]) -> list[list[float]]:
        """The other booster's contributions; in a batch that of the first feature is a little larger."""
        contributions = self._booster.contributions(vectors)
        return [[shares[0] + 0.001 * (len(vectors) > 1), *shares[1:]] for shares in contributions]


def test_a_bundle_that_answers_differently_in_a_batch_is_refused(refund: Scorer) -> None:
    """One of the two answers must be wrong."""
    booster: Any = Inconsistent(refund.bundle.booster)
    with pytest.raises(BundleError, match=r"^here answers its golden requests differently in a batch than one by one$"):
        servable_scorer(replace(refund.bundle, booster=booster), "here")


def with_contributions(scorer: Scorer, *, trained_with: str, added: float) -> Any:  # noqa: ANN401 - a bundle
    """A bundle that `trained_with` trained; `added` is added to the first golden contribution."""
    golden = [
        case
        if "contributions" not in case
        else case | {"contributions": [case["contributions"][0] + added, *case["contributions"][1:]]}
        for case in scorer.bundle.golden
    ]
    libraries = {**scorer.bundle.manifest["libraries"], "xgboost-cpu": trained_with}
    return replace(scorer.bundle, golden=golden, manifest={**scorer.bundle.manifest, "libraries": libraries})


@pytest.mark.parametrize(
    ("trained_with", "added", "warning"),
    [
        ("2.1.4", 0.0, None),
        ("2.1.4", 0.002, "contributions that differ by up to 0.00"),
        (library_version(), 0.002, None),
    ],
)
def test_other_reasons_of_another_xgboost_are_a_warning(
    refund: Scorer, caplog: pytest.LogCaptureFixture, trained_with: str, added: float, warning: str | None
) -> None:
    """There is one only if contributions differ; different probabilities are refused, as tested below."""
    verified_scorer(with_contributions(refund, trained_with=trained_with, added=added), "here")
    if warning is None:
        assert caplog.text == ""
    else:
        assert (
            f"here was trained with XGBoost 2.1.4; XGBoost {library_version()} computes the same probabilities"
            in caplog.text
        )
        assert warning in caplog.text


@pytest.mark.parametrize(
    ("contributions", "message"),
    [
        (None, "here has no golden contributions, so nothing shows whether XGBoost"),
        ([0.5], "here: its golden contributions must be a list of 11 numbers"),
        (["a"] * 11, "here: its golden contributions must be a list of 11 numbers"),
        (7, "here: its golden contributions must be a list of 11 numbers"),
    ],
)
def test_golden_contributions_that_tell_nothing_are_refused(refund: Scorer, contributions: Any, message: str) -> None:  # noqa: ANN401 - damaged
    """They are needed because another XGBoost trained the bundle."""
    bundle = with_contributions(refund, trained_with="2.1.4", added=0.0)
    golden = [{key: value for key, value in case.items() if key != "contributions"} for case in bundle.golden]
    if contributions is not None:
        golden[0]["contributions"] = contributions
    with pytest.raises(BundleError, match=message):
        verified_scorer(replace(bundle, golden=golden), "here")


def test_another_calibration_than_the_golden_cases_is_refused(refund: Scorer, tmp_path: Path) -> None:
    """A bundle must compute what training computed."""
    folder = Path(shutil.copytree(BUNDLES / "refund", tmp_path / "refund"))
    calibration = refund.bundle.manifest["calibration"]
    rewrite_manifest(folder, calibration={**calibration, "slope": calibration["slope"] + 0.001})
    with pytest.raises(BundleError, match=r"the golden request .* in training it gave"):
        load_scorer(folder)


def test_no_bundle_stops_the_start(tmp_path: Path) -> None:
    """The message has the folder and the command that makes bundles."""
    with pytest.raises(BundleError, match="contains no bundle; run `make train`"):
        load_scorers(tmp_path)


def test_two_bundles_on_one_route_stop_the_start(tmp_path: Path) -> None:
    """The message names both scorers."""
    for name in ("refund", "returns"):
        shutil.copytree(BUNDLES / "refund", tmp_path / name)
    path = tmp_path / "returns" / "manifest.json"
    manifest = {**json.loads(path.read_text()), "scorer": "returns"}
    path.write_bytes(manifest_bytes({**manifest, "version": bundle_version(manifest)}))
    with pytest.raises(BundleError, match="returns: the route /api/v1/refund-predict is already taken by refund"):
        load_scorers(tmp_path)


def test_a_bundle_in_another_scorers_folder_stops_the_start(tmp_path: Path) -> None:
    """Otherwise it would be unclear which of two copies is served."""
    shutil.copytree(BUNDLES / "refund", tmp_path / "copy")
    with pytest.raises(BundleError, match="copy contains the bundle of refund"):
        load_scorers(tmp_path)


def test_hidden_folders_are_no_bundles(tmp_path: Path) -> None:
    """Such as those of an editor."""
    shutil.copytree(BUNDLES / "refund", tmp_path / "refund")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert list(load_scorers(tmp_path)) == ["refund"]
