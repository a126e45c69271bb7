"""The gate: gains with their intervals, calibration, what a window must be, and which rows count."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.metrics import average_precision_score

from benchmarks.variants import contents_of
from handler.scoring.bundle import MANIFEST, load_bundle
from handler.scoring.scorer import Scorer, load_scorer
from training import declaration
from training.data.requests import requests_of
from training.delivery.gate import (
    MAX_CALIBRATION_SHARE,
    AlertRates,
    GateVerdict,
    agreed_rate,
    judge_challenger,
    weigh,
)
from training.package import build_bundle

GAINS = ("average_precision", "recall_at_the_alert_budget")
Variant = Callable[..., Path]


@pytest.fixture(scope="session")
def window(trained: Path) -> pd.DataFrame:
    """The evaluated rows, of which no model has learned."""
    return pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet")


@pytest.fixture(scope="session")
def champion(mini_bundle: Path) -> Scorer:
    """The packaged scorer."""
    return load_scorer(mini_bundle)


@pytest.fixture
def other(variant: Variant) -> Callable[..., Scorer]:
    """Makes another version of the packaged scorer."""
    return lambda **changes: load_scorer(variant(**changes))


@pytest.fixture
def shortened(mini_bundle: Path, tmp_path: Path) -> Callable[[int], Scorer]:
    """Makes a scorer of the packaged model's first so many trees."""
    model = xgb.Booster()
    model.load_model(mini_bundle / "model.ubj")

    def shorten(rounds: int) -> Scorer:
        contents = contents_of(mini_bundle)
        manifest = json.loads(contents.pop(MANIFEST))
        described = {key: value for key, value in manifest.items() if key not in {"format", "files", "version"}}
        build_bundle(tmp_path, contents | {"model.ubj": bytes(model[:rounds].save_raw("ubj"))}, described)
        # Not load_scorer: the golden cases are the whole model's.
        return Scorer(load_bundle(tmp_path))

    return shorten


def narrowed(champion: Scorer, **limits: float) -> dict[str, Any]:
    """The contract of a scorer whose field amount has other limits."""
    contract = json.loads(json.dumps(champion.bundle.manifest["contract"]))
    contract["fields"]["amount"] |= limits
    return contract


def probabilities(scorer: Scorer, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """What a scorer answers to each row."""
    requests = [scorer.request_model.model_validate(request) for request in requests_of(rows, scorer.contract)]
    return np.array([scorer.score(request).probability for request in requests])


def test_an_equal_challenger_passes(
    champion: Scorer, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """A challenger that ranks as the champion does gains nothing, and nothing speaks against it."""
    verdict = judge_challenger(champion, champion, window, mini_scorer)
    assert verdict.objections == ()
    for name in GAINS:
        gain = getattr(verdict.measured, name)
        assert (gain.gain, gain.low, gain.high) == (0, 0, 0)
        assert gain.challenger == gain.champion


def test_the_gate_measures_as_the_evaluation_does(
    champion: Scorer, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """Of the champion on the evaluated rows the gate finds what the manifest has."""
    measured = judge_challenger(champion, champion, window, mini_scorer).measured
    metrics = champion.bundle.manifest["metrics"]
    assert (measured.rows, measured.frauds, measured.left_out) == (metrics["rows"], metrics["frauds"], 0)
    assert measured.average_precision.champion == metrics["average_precision"]
    assert measured.recall_at_the_alert_budget.champion == metrics["recall"]
    assert measured.alert_rate == AlertRates(challenger=metrics["alert_rate"], champion=metrics["alert_rate"])
    assert measured.calibration_error.challenger == metrics["expected_calibration_error"]


def test_a_reversed_ranking_is_refused_with_both_numbers(
    champion: Scorer, other: Callable[..., Scorer], window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """The objection to a reversed ranking has both models' numbers, and the interval of the gain."""
    verdict = judge_challenger(champion, other(slope=-1), window, mini_scorer)
    for name in GAINS:
        gain = getattr(verdict.measured, name)
        assert (
            f"its {name.replace('_', ' ')} is {gain.challenger:.3f}, the champion's {gain.champion:.3f}: "
            f"{gain.gain:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        ) in verdict.objections
        assert gain.low <= gain.gain <= gain.high < 0


def test_a_better_challenger_passes(
    champion: Scorer, other: Callable[..., Scorer], window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """Where the champion ranks the wrong way round, nothing speaks against one that does not."""
    verdict = judge_challenger(other(slope=-1), champion, window, mini_scorer)
    assert verdict.objections == ()
    assert verdict.measured.average_precision.low > 0


def test_a_loss_within_chance_passes(
    champion: Scorer,
    shortened: Callable[[int], Scorer],
    window: pd.DataFrame,
    mini_scorer: declaration.ScorerDeclaration,
) -> None:
    """A challenger that ranks worse on these rows, but might not on others like them, is let through."""
    verdict = judge_challenger(champion, shortened(15), window, mini_scorer)
    gain = verdict.measured.average_precision
    assert gain.low < gain.gain < 0 < gain.high
    assert verdict.objections == ()


def test_a_loss_beyond_chance_is_refused(
    champion: Scorer,
    shortened: Callable[[int], Scorer],
    window: pd.DataFrame,
    mini_scorer: declaration.ScorerDeclaration,
) -> None:
    """One gain makes up for no loss: a challenger that finds more within the budget is refused for its ranking."""
    verdict = judge_challenger(champion, shortened(1), window, mini_scorer)
    assert verdict.measured.recall_at_the_alert_budget.gain > 0
    assert [one for one in verdict.objections if one.startswith("its average precision is")]


def test_bad_calibration_is_refused(
    champion: Scorer, other: Callable[..., Scorer], window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """A challenger that ranks as well, but whose probabilities are far off, is refused for these and its alerts."""
    verdict = judge_challenger(champion, other(shift=2), window, mini_scorer)
    found = verdict.measured.calibration_error
    told = f"its calibration error is {found.challenger:.2g}, at least {found.low:.2g} by its interval; "
    alerts, ranking = verdict.objections
    assert alerts == f"{told}{found.limit:.2g} is the limit"
    assert re.fullmatch(
        r"it flags [\d.]+% of the rows, the champion [\d.]+%(, and was meant to flag [\d.]+%)?", ranking
    )
    assert found.limit < found.low < found.challenger


def test_the_limit_of_calibration_is_a_share_of_the_fraud_rate(
    champion: Scorer, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """What a calibration error may be depends on how much there is to predict."""
    limit = judge_challenger(None, champion, window, mini_scorer).measured.calibration_error.limit
    assert limit == pytest.approx(MAX_CALIBRATION_SHARE * window["is_fraud"].mean(), rel=1e-5)


def test_without_a_champion_only_calibration_is_judged(
    champion: Scorer, other: Callable[..., Scorer], window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """The first version of a scorer is compared with no champion, and must be calibrated all the same."""
    verdict = judge_challenger(None, champion, window, mini_scorer)
    assert verdict.objections == ()
    assert not verdict.measured.gains
    (objection,) = judge_challenger(None, other(shift=2), window, mini_scorer).objections
    assert objection.startswith("its calibration error is")


def test_rows_that_chose_the_threshold_are_refused(
    trained: Path, champion: Scorer, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """A window that begins before the challenger's own rows end would judge it by what it has learned."""
    learned = pd.read_parquet(trained / "build" / "mini" / "rows" / "calibrate.parquet")
    known = champion.bundle.manifest["windows"]["calibrate"]
    (objection,) = judge_challenger(champion, champion, pd.concat([learned, window]), mini_scorer).objections
    assert objection.startswith(f"it has learned from rows of this window, which begins {known['from']}; ")
    assert objection.endswith(f"its own rows end {known['to']}")


def test_rows_without_dates_are_taken_at_their_word(
    champion: Scorer, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """Where time is a step and no date, overlapping windows cannot be noticed, and there is no objection."""
    steps = window.assign(at=np.arange(len(window), dtype=float))
    assert judge_challenger(champion, champion, steps, mini_scorer).objections == ()


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        pytest.param(lambda rows: rows[rows["is_fraud"] == 0], "0 frauds in 275 rows", id="no fraud"),
        pytest.param(lambda rows: rows[rows["is_fraud"] == 1], "25 frauds in 25 rows", id="only frauds"),
        pytest.param(lambda rows: rows.head(0), "0 frauds in 0 rows", id="no rows"),
    ],
)
def test_a_window_needs_both_classes(
    champion: Scorer,
    window: pd.DataFrame,
    mini_scorer: declaration.ScorerDeclaration,
    kept: Callable[[pd.DataFrame], pd.DataFrame],
    found: str,
) -> None:
    """On rows of one class, or none, no challenger passes."""
    verdict = judge_challenger(champion, champion, kept(window), mini_scorer)
    assert verdict.objections[-1] == f"the window has {found} that both take; a gate needs both classes"


def test_rows_beyond_the_champions_contract_are_left_out(
    champion: Scorer, variant: Variant, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """What the champion would refuse is counted, and both are judged by the rest as if it were not there."""
    narrower = load_scorer(variant(contract=narrowed(champion, max=200.0)))
    dear = window["amount"] > 200
    verdict = judge_challenger(narrower, champion, window, mini_scorer)
    assert verdict.measured.left_out == dear.sum() > 0
    told = f"{dear.sum()} of the window's {len(window)} rows are not requests that both take"
    assert verdict.objections == (told,)
    rest = judge_challenger(narrower, champion, window[~dear], mini_scorer)
    assert verdict.measured.model_copy(update={"left_out": 0, "window": None}) == rest.measured.model_copy(
        update={"window": None}
    )


def test_a_broken_contract_is_an_objection(
    champion: Scorer, variant: Variant, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """A challenger that takes less than the champion promises is refused for that, however well it ranks."""
    narrower = load_scorer(variant(contract=narrowed(champion, max=200.0)))
    objections = judge_challenger(champion, narrower, window, mini_scorer).objections
    assert "its contract is not the champion's: its amountUsd has a maximum of 200, not 100000" in objections


def test_gains_are_what_scikit_learn_computes(
    champion: Scorer,
    shortened: Callable[[int], Scorer],
    window: pd.DataFrame,
    mini_scorer: declaration.ScorerDeclaration,
) -> None:
    """Average precision is scikit-learn's, and the gain is the challenger's less the champion's."""
    challenger = shortened(15)
    found = judge_challenger(champion, challenger, window, mini_scorer).measured.average_precision
    theirs, ours = (
        average_precision_score(window["is_fraud"], probabilities(scorer, window)) for scorer in (challenger, champion)
    )
    assert (found.challenger, found.champion) == pytest.approx((theirs, ours), rel=1e-5)
    assert found.gain == pytest.approx(theirs - ours, rel=1e-4)


def test_recall_is_within_the_champions_alert_budget(
    champion: Scorer,
    variant: Variant,
    shortened: Callable[[int], Scorer],
    window: pd.DataFrame,
    mini_scorer: declaration.ScorerDeclaration,
) -> None:
    """Recall is that of the riskiest rows, at most as many as the champion flags, of equal ones all or none."""
    label, probability = window["is_fraud"].to_numpy(), probabilities(champion, window)
    # A budget that ends just before a fraud, so that one row more would tell.
    threshold = probability[probability > np.median(probability[label == 1])].min()
    decision = champion.bundle.manifest["decision"] | {"threshold": threshold}
    stricter, challenger = load_scorer(variant(decision=decision)), shortened(15)
    measured = judge_challenger(stricter, challenger, window, mini_scorer).measured
    budget = np.mean(probability >= threshold)
    for who, scored in (("champion", probability), ("challenger", probabilities(challenger, window))):
        flagged = [scored >= limit for limit in np.unique(scored)]
        recall = max(flags[label == 1].mean() for flags in flagged if flags.mean() <= budget)
        assert getattr(measured.recall_at_the_alert_budget, who) == pytest.approx(recall, rel=1e-5)
    assert measured.alert_rate.champion == pytest.approx(budget, rel=1e-5)


def test_one_seed_one_verdict(
    champion: Scorer, other: Callable[..., Scorer], window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """Who judges again with the declared seed finds the same numbers; another seed draws other rows."""
    challenger = other(slope=-1)

    def verdict(seed: int) -> GateVerdict:
        return judge_challenger(champion, challenger, window, mini_scorer.model_copy(update={"seed": seed}))

    assert verdict(7) == verdict(7)
    assert verdict(7).measured.average_precision.low != verdict(8).measured.average_precision.low


N_WEIGHED = 4_000


MEANT = ", and was meant to flag"


def alert_objections(own: float, champion: float, agreed: float) -> list[str]:
    """What speaks against a sound challenger that flags a share of the rows, beside a champion that flags another."""
    label = (np.arange(N_WEIGHED) < N_WEIGHED / 20).astype(np.int8)
    probability = np.where(label == 1, 0.9, 0.005)
    flagged = [(np.arange(N_WEIGHED) < share * N_WEIGHED).astype(np.float64) for share in (own, champion)]
    objections = weigh([probability, probability], flagged, label, agreed=agreed, seed=7).objections
    return [one for one in objections if one.startswith("it flags")]


def test_agreed_rate_is_that_of_the_threshold_s_rows(champion: Scorer) -> None:
    """What a champion was agreed to flag is what it flagged of the rows that its threshold was chosen on."""
    assert agreed_rate({"rows": 300, "flagged": 45, "frauds": 30}) == 0.15
    score = champion.bundle.baseline["score"]
    assert agreed_rate(score) == score["flagged"] / 300


@pytest.mark.parametrize(
    ("own", "champion_flags", "agreed", "usual"),
    [
        pytest.param(0.05, 0.05, 0.05, None, id="as much as both"),
        pytest.param(0.05, 0.0, 0.05, None, id="as much as agreed, beside a blind champion"),
        pytest.param(0.08, 0.001, 0.05, None, id="hardly more than agreed, beside a nearly blind champion"),
        pytest.param(0.1, 0.1, 0.05, None, id="as much as the champion by now, which is more than agreed"),
        pytest.param(0.0, 0.05, 0.05, None, id="nothing"),
        pytest.param(0.1, 0.0, 0.05, f"0.00%{MEANT} 5.00%", id="far more than agreed, beside a blind champion"),
        pytest.param(0.1, 0.06, 0.05, "6.00%", id="far more than both"),
        pytest.param(0.1, 0.05, 0.06, f"5.00%{MEANT} 6.00%", id="far more than both, of which the agreed is more"),
        pytest.param(0.05, 0.0, 0.0, "0.00%", id="anything, beside one that never flagged"),
    ],
)
def test_alerts_are_compared_with_the_larger_rate(
    own: float, champion_flags: float, agreed: float, usual: str | None
) -> None:
    """A challenger may flag up to half more than the champion does or was agreed to, whichever is more."""
    told = [f"it flags {own:.2%} of the rows, the champion {usual}"] if usual else []
    assert alert_objections(own, champion_flags, agreed) == told


@pytest.mark.parametrize(("own", "is_refused"), [(0.05, False), (0.049, False), (0.025, True)])
def test_a_challenger_that_catches_significantly_less_is_refused(own: float, *, is_refused: bool) -> None:
    """However well it ranks: what it flags is what is caught, and a higher threshold catches less."""
    label = (np.arange(N_WEIGHED) < N_WEIGHED / 20).astype(np.int8)
    probability = np.where(label == 1, 0.9, 0.005)
    flagged = [(np.arange(N_WEIGHED) < share * N_WEIGHED).astype(np.float64) for share in (own, 0.05)]
    verdict = weigh([probability, probability], flagged, label, agreed=0.05, seed=7)
    assert verdict.measured.recall.challenger == pytest.approx(own / 0.05)
    assert (
        any(one.startswith("its recall is 0.500, the champion's 1.000: -0.500") for one in verdict.objections)
        is is_refused
    )


def test_blind_champion_forbids_nothing(
    champion: Scorer, variant: Variant, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """A champion that flags nothing any more does not forbid a challenger to flag what had been agreed."""
    decision = champion.bundle.manifest["decision"] | {"threshold": 1.0}
    blind = load_scorer(variant(decision=decision))
    verdict = judge_challenger(blind, champion, window, mini_scorer)
    assert verdict.measured.alert_rate.champion == 0
    assert verdict.measured.recall_at_the_alert_budget.champion == 0
    assert 0 < verdict.measured.alert_rate.challenger < 1.5 * agreed_rate(blind.bundle.baseline["score"])
    assert verdict.objections == ()


def test_blind_champion_does_not_allow_everything(
    champion: Scorer, variant: Variant, window: pd.DataFrame, mini_scorer: declaration.ScorerDeclaration
) -> None:
    """Beside a champion that flags nothing any more, one that flags far more than had been agreed is refused."""
    decision = champion.bundle.manifest["decision"]
    blind, alarmist = (load_scorer(variant(decision=decision | {"threshold": one})) for one in (1.0, 0.0))
    agreed = agreed_rate(blind.bundle.baseline["score"])
    (objection,) = judge_challenger(blind, alarmist, window, mini_scorer).objections
    assert objection == f"it flags 100.00% of the rows, the champion 0.00%, and was meant to flag {agreed:.2%}"
