"""The gate: gains with their intervals, calibration, what a window must be, and which rows count."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.metrics import average_precision_score

from benchmarks.variants import contents_of
from handler.scoring.bundle import MANIFEST, load_bundle
from handler.scoring.scorer import Scorer, load_scorer
from training.data.requests import requests_of
from training.declaration import ScorerDeclaration
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


@dataclass
class Gate:
    """The gate on the mini scorer's test rows, of which no model has learned, and scorers to judge by them."""

    declaration: ScorerDeclaration
    bundle: Path
    variant: Callable[..., Path]
    window: pd.DataFrame
    champion: Scorer

    def judge(self, champion: Scorer | None, challenger: Scorer, rows: pd.DataFrame | None = None) -> GateVerdict:
        """The verdict on a challenger by the test rows, or by others."""
        return judge_challenger(champion, challenger, self.window if rows is None else rows, self.declaration)

    def version(self, **changes: object) -> Scorer:
        """Another version of the packaged scorer."""
        return load_scorer(self.variant(**changes))

    def with_threshold(self, threshold: float) -> Scorer:
        """The packaged scorer with another threshold."""
        return self.version(decision=self.champion.bundle.manifest["decision"] | {"threshold": threshold})

    def narrower(self) -> Scorer:
        """The packaged scorer with a contract that allows smaller amounts only."""
        contract = json.loads(json.dumps(self.champion.bundle.manifest["contract"]))
        contract["fields"]["amount"]["max"] = 200.0
        return self.version(contract=contract)

    def shortened(self, rounds: int) -> Scorer:
        """A scorer of the packaged model's first trees only."""
        model = xgb.Booster()
        model.load_model(self.bundle / "model.ubj")
        contents = contents_of(self.bundle)
        manifest = json.loads(contents.pop(MANIFEST))
        described = {key: value for key, value in manifest.items() if key not in {"format", "files", "version"}}
        folder = self.variant()
        build_bundle(folder, contents | {"model.ubj": bytes(model[:rounds].save_raw("ubj"))}, described)
        # Not load_scorer: the golden cases are the whole model's.
        return Scorer(load_bundle(folder))

    def probabilities(self, scorer: Scorer) -> npt.NDArray[np.float64]:
        """What a scorer answers to each of the test rows."""
        requests = requests_of(self.window, scorer.contract)
        return np.array([scorer.score(scorer.request_model.model_validate(one)).probability for one in requests])


@pytest.fixture
def gate(trained: Path, mini_bundle: Path, variant: Callable[..., Path], mini_scorer: ScorerDeclaration) -> Gate:
    """The gate on the mini scorer's test rows."""
    window = pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet")
    return Gate(mini_scorer, mini_bundle, variant, window, load_scorer(mini_bundle))


def test_equal_challenger_passes(gate: Gate) -> None:
    """A challenger that ranks as the champion does gains nothing; what is measured is what the manifest has."""
    verdict = gate.judge(gate.champion, gate.champion)
    measured, metrics = verdict.measured, gate.champion.bundle.manifest["metrics"]
    assert verdict.objections == ()
    for name in GAINS:
        gain = getattr(measured, name)
        assert (gain.gain, gain.low, gain.high) == (0, 0, 0)
        assert gain.challenger == gain.champion
    assert (measured.rows, measured.frauds, measured.left_out) == (metrics["rows"], metrics["frauds"], 0)
    assert measured.average_precision.champion == metrics["average_precision"]
    assert measured.recall_at_the_alert_budget.champion == metrics["recall"]
    assert measured.alert_rate == AlertRates(challenger=metrics["alert_rate"], champion=metrics["alert_rate"])
    assert measured.calibration_error.challenger == metrics["expected_calibration_error"]


def test_reversed_ranking_is_refused_with_both_numbers(gate: Gate) -> None:
    """The objections have both models' numbers and the gain's interval; as champion it lets a better one pass."""
    reversed_ranking = gate.version(slope=-1)
    verdict = gate.judge(gate.champion, reversed_ranking)
    for name in GAINS:
        gain = getattr(verdict.measured, name)
        assert (
            f"its {name.replace('_', ' ')} is {gain.challenger:.3f}, the champion's {gain.champion:.3f}: "
            f"{gain.gain:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        ) in verdict.objections
        assert gain.low <= gain.gain <= gain.high < 0
    verdict = gate.judge(reversed_ranking, gate.champion)
    assert verdict.objections == ()
    assert verdict.measured.average_precision.low > 0


def test_loss_within_chance_passes(gate: Gate) -> None:
    """A challenger that ranks worse on these rows, but might not on others like them, passes; AP is scikit-learn's."""
    challenger = gate.shortened(15)
    verdict = gate.judge(gate.champion, challenger)
    gain = verdict.measured.average_precision
    assert gain.low < gain.gain < 0 < gain.high
    assert verdict.objections == ()
    label, scorers = gate.window["is_fraud"], (challenger, gate.champion)
    expected = [average_precision_score(label, gate.probabilities(scorer)) for scorer in scorers]
    assert (gain.challenger, gain.champion) == pytest.approx(tuple(expected), rel=1e-5)
    assert gain.gain == pytest.approx(expected[0] - expected[1], rel=1e-4)


def test_loss_beyond_chance_is_refused(gate: Gate) -> None:
    """One gain makes up for no loss: a challenger that finds more within the budget is refused for its ranking."""
    verdict = gate.judge(gate.champion, gate.shortened(1))
    assert verdict.measured.recall_at_the_alert_budget.gain > 0
    assert any(text.startswith("its average precision is") for text in verdict.objections)


def test_bad_calibration_is_refused(gate: Gate) -> None:
    """A challenger that ranks as well, but whose probabilities are far off, is refused for these and its alerts."""
    verdict = gate.judge(gate.champion, gate.version(shift=2))
    error = verdict.measured.calibration_error
    calibration, alerts = verdict.objections
    limits = f"its calibration error is {error.challenger:.2g}, at least {error.low:.2g} by its interval; "
    assert calibration == f"{limits}{error.limit:.2g} is the limit"
    rates = r"it flags [\d.]+% of the rows, the champion [\d.]+%(, and was meant to flag [\d.]+%)?"
    assert re.fullmatch(rates, alerts)
    assert error.limit < error.low < error.challenger


def test_without_a_champion_only_calibration_is_judged(gate: Gate) -> None:
    """A first version is compared with no champion, and its calibration error must be at most a share of the frauds."""
    verdict = gate.judge(None, gate.champion)
    assert verdict.objections == ()
    assert not verdict.measured.gains
    limit = MAX_CALIBRATION_SHARE * gate.window["is_fraud"].mean()
    assert verdict.measured.calibration_error.limit == pytest.approx(limit, rel=1e-5)
    (objection,) = gate.judge(None, gate.version(shift=2)).objections
    assert objection.startswith("its calibration error is")


def test_rows_that_chose_the_threshold_are_refused(trained: Path, gate: Gate) -> None:
    """A window that begins before the challenger's own rows end would judge it by what it has learned."""
    learned = pd.read_parquet(trained / "build" / "mini" / "rows" / "calibrate.parquet")
    known = gate.champion.bundle.manifest["windows"]["calibrate"]
    (objection,) = gate.judge(gate.champion, gate.champion, pd.concat([learned, gate.window])).objections
    assert objection.startswith(f"it has learned from rows of this window, which begins {known['from']}; ")
    assert objection.endswith(f"its own rows end {known['to']}")
    # Where time is a step and no date, overlapping windows cannot be noticed.
    steps = gate.window.assign(at=np.arange(len(gate.window), dtype=float))
    assert gate.judge(gate.champion, gate.champion, steps).objections == ()


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        pytest.param(lambda rows: rows[rows["is_fraud"] == 0], "0 frauds in 275 rows", id="no fraud"),
        pytest.param(lambda rows: rows[rows["is_fraud"] == 1], "25 frauds in 25 rows", id="only frauds"),
        pytest.param(lambda rows: rows.head(0), "0 frauds in 0 rows", id="no rows"),
    ],
)
def test_window_needs_both_classes(gate: Gate, kept: Callable[[pd.DataFrame], pd.DataFrame], found: str) -> None:
    """On rows of one class, or none, no challenger passes."""
    verdict = gate.judge(gate.champion, gate.champion, kept(gate.window))
    assert verdict.objections[-1] == f"the window has {found} that both take; a gate needs both classes"


def test_rows_beyond_the_champions_contract_are_left_out(gate: Gate) -> None:
    """What the champion would refuse is counted, and both are judged by the rest as if it were not there."""
    narrower = gate.narrower()
    dear = gate.window["amount"] > 200
    verdict = gate.judge(narrower, gate.champion)
    assert verdict.measured.left_out == dear.sum() > 0
    left_out = f"{dear.sum()} of the window's {len(gate.window)} rows are not requests that both take"
    assert verdict.objections == (left_out,)
    rest = gate.judge(narrower, gate.champion, gate.window[~dear]).measured.model_copy(update={"window": None})
    assert verdict.measured.model_copy(update={"left_out": 0, "window": None}) == rest
    # The other way round the challenger refuses what the champion promises, however well it ranks.
    objections = gate.judge(gate.champion, narrower).objections
    assert "its contract is not the champion's: its amountUsd has a maximum of 200, not 100000" in objections


def test_recall_is_within_the_champions_alert_budget(gate: Gate) -> None:
    """Recall is that of the riskiest rows, at most as many as the champion flags, of equal ones all or none."""
    label, probability = gate.window["is_fraud"].to_numpy(), gate.probabilities(gate.champion)
    # A budget that ends just before a fraud, so that one row more would make a difference.
    threshold = probability[probability > np.median(probability[label == 1])].min()
    stricter, challenger = gate.with_threshold(threshold), gate.shortened(15)
    measured = gate.judge(stricter, challenger).measured
    budget = np.mean(probability >= threshold)
    for who, scored in (("champion", probability), ("challenger", gate.probabilities(challenger))):
        flagged = [scored >= limit for limit in np.unique(scored)]
        recall = max(flags[label == 1].mean() for flags in flagged if flags.mean() <= budget)
        assert getattr(measured.recall_at_the_alert_budget, who) == pytest.approx(recall, rel=1e-5)
    assert measured.alert_rate.champion == pytest.approx(budget, rel=1e-5)


def test_verdict_depends_on_the_declared_seed(gate: Gate) -> None:
    """The same seed gives the same numbers; another seed draws other rows."""
    challenger, verdicts = gate.version(slope=-1), []
    for seed in (7, 7, 8):
        gate.declaration = gate.declaration.model_copy(update={"seed": seed})
        verdicts.append(gate.judge(gate.champion, challenger))
    first, again, other = verdicts
    assert first == again
    assert first.measured.average_precision.low != other.measured.average_precision.low


MEANT = ", and was meant to flag"


def weighed(alert_rate: float, champion_alert_rate: float, agreed: float = 0.05) -> GateVerdict:
    """The verdict on a sound challenger of some alert rate beside a champion of another; a twentieth are frauds."""
    rows = np.arange(4_000)
    label = (rows < 200).astype(np.int8)
    probability = np.where(label == 1, 0.9, 0.005)
    flagged = [(rows < rate * len(rows)).astype(np.float64) for rate in (alert_rate, champion_alert_rate)]
    return weigh([probability, probability], flagged, label, agreed=agreed, seed=7)


def test_agreed_rate_is_that_of_the_rows_that_chose_the_threshold(gate: Gate) -> None:
    """What a champion was agreed to flag is what it flagged of the rows that its threshold was chosen on."""
    assert agreed_rate({"rows": 300, "flagged": 45, "frauds": 30}) == 0.15
    score = gate.champion.bundle.baseline["score"]
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
    objections = weighed(own, champion_flags, agreed).objections
    expected = [f"it flags {own:.2%} of the rows, the champion {usual}"] if usual else []
    assert [objection for objection in objections if objection.startswith("it flags")] == expected


@pytest.mark.parametrize(("own", "is_refused"), [(0.05, False), (0.049, False), (0.025, True)])
def test_challenger_that_catches_significantly_less_is_refused(own: float, *, is_refused: bool) -> None:
    """However well it ranks: what it flags is what is caught, and a higher threshold catches less."""
    verdict = weighed(own, 0.05)
    assert verdict.measured.recall.challenger == pytest.approx(own / 0.05)
    objection = "its recall is 0.500, the champion's 1.000: -0.500"
    assert any(text.startswith(objection) for text in verdict.objections) is is_refused


def test_champion_that_flags_nothing_is_no_measure(gate: Gate) -> None:
    """Beside a champion that flags nothing any more, a challenger may flag what had been agreed, and not far more."""
    blind, alarmist = gate.with_threshold(1.0), gate.with_threshold(0.0)
    agreed = agreed_rate(blind.bundle.baseline["score"])
    verdict = gate.judge(blind, gate.champion)
    assert verdict.measured.alert_rate.champion == 0
    assert verdict.measured.recall_at_the_alert_budget.champion == 0
    assert 0 < verdict.measured.alert_rate.challenger < 1.5 * agreed
    assert verdict.objections == ()
    (objection,) = gate.judge(blind, alarmist).objections
    assert objection == f"it flags 100.00% of the rows, the champion 0.00%, and was meant to flag {agreed:.2%}"
