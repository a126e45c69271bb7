"""The promotion gate: gains with intervals, calibration, requirements on the window, and the rows that count."""

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
from training.delivery.contenders import Contender
from training.delivery.gate import judge_challenger
from training.delivery.gate_verdict import AlertRates, GateVerdict
from training.delivery.weighing import agreed_rate
from training.package import build_bundle
from training.params import Gate as Limits

GAINS = ("average_precision", "recall_at_the_alert_budget")


def contender(scorer: Scorer) -> Contender:
    """The scorer as a contender that is judged on the rows as they are."""
    return Contender(scorer.version, scorer)


@dataclass
class Gate:
    """The gate on the mini scorer's test rows, which no model has learned from, and scorers to judge on them."""

    declaration: ScorerDeclaration
    bundle: Path
    variant: Callable[..., Path]
    window: pd.DataFrame
    champion: Scorer

    def judge(
        self,
        champion: Scorer | None,
        challenger: Scorer,
        rows: pd.DataFrame | None = None,
        former: Scorer | None = None,
    ) -> GateVerdict:
        """The verdict on a challenger on the test rows or on others, beside the best former release, if any."""
        rows = self.window if rows is None else rows
        return judge_challenger(
            champion and contender(champion),
            contender(challenger),
            rows,
            self.declaration,
            former and contender(former),
        )

    def declare(self, **limits: float) -> None:
        """Declare these limits instead of the gate's own."""
        gate = Limits.model_validate(self.declaration.gate.model_dump() | limits)
        self.declaration = self.declaration.model_copy(update={"gate": gate})

    def version(self, **changes: object) -> Scorer:
        """A version of the packaged scorer with these changes."""
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
        """A scorer with the packaged model's first trees only."""
        model = xgb.Booster()
        model.load_model(self.bundle / "model.ubj")
        contents = contents_of(self.bundle)
        manifest = json.loads(contents.pop(MANIFEST))
        described = {key: value for key, value in manifest.items() if key not in {"format", "files", "version"}}
        folder = self.variant()
        build_bundle(folder, contents | {"model.ubj": bytes(model[:rounds].save_raw("ubj"))}, described)
        # load_scorer would fail: the golden cases are those of the whole model.
        return Scorer(load_bundle(folder))

    def probabilities(self, scorer: Scorer) -> npt.NDArray[np.float64]:
        """The scorer's probabilities for all test rows."""
        requests = requests_of(self.window, scorer.contract)
        return np.array(
            [scorer.score(scorer.request_model.model_validate(request)).probability for request in requests]
        )


@pytest.fixture
def gate(trained: Path, mini_bundle: Path, variant: Callable[..., Path], mini_scorer: ScorerDeclaration) -> Gate:
    """The gate on the mini scorer's test rows."""
    window = pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet")
    return Gate(mini_scorer, mini_bundle, variant, window, load_scorer(mini_bundle))


def test_equal_challenger_passes(gate: Gate) -> None:
    """A challenger equal to the champion gains nothing, and the measured figures are those of its manifest."""
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
    """The objections have both models' numbers and the gain's interval; if it is the champion, a better one passes."""
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
    """A challenger that ranks worse on these rows, but perhaps only by chance, passes with a wide margin.

    With the shipped margin the gate cannot tell. The average precision is scikit-learn's.
    """
    challenger = gate.shortened(15)
    verdict = gate.judge(gate.champion, challenger)
    gain = verdict.measured.average_precision
    assert gain.low < gain.gain < 0 < gain.high
    assert verdict.kind == "cannot tell"
    gate.declare(margin=0.01 - gain.low)
    assert gate.judge(gate.champion, challenger).kind == "promote"
    label, scorers = gate.window["is_fraud"], (challenger, gate.champion)
    expected = [average_precision_score(label, gate.probabilities(scorer)) for scorer in scorers]
    assert (gain.challenger, gain.champion) == pytest.approx(tuple(expected), rel=1e-5)
    assert gain.gain == pytest.approx(expected[0] - expected[1], rel=1e-4)


def test_loss_beyond_chance_is_refused(gate: Gate) -> None:
    """A challenger of a single tree is refused because it ranks worse."""
    verdict = gate.judge(gate.champion, gate.shortened(1))
    assert any(text.startswith("its average precision is") for text in verdict.objections)


def test_bad_calibration_is_refused(gate: Gate) -> None:
    """A challenger that ranks as well but has wrong probabilities is refused for its calibration and its alert rate."""
    verdict = gate.judge(gate.champion, gate.version(shift=2))
    error = verdict.measured.calibration_error
    calibration, alerts = verdict.objections
    limits = f"its calibration error is {error.challenger:.2g}, at least {error.low:.2g} by its interval; "
    assert calibration == f"{limits}the limit is {error.limit:.2g}"
    rates = r"it flags [\d.]+% of the rows; the champion flags [\d.]+%( and was meant to flag [\d.]+%)?"
    assert re.fullmatch(rates, alerts)
    assert error.limit < error.low < error.challenger


def test_without_a_champion_calibration_and_policy_are_judged(gate: Gate) -> None:
    """A first version has no champion to be compared with; it must keep its policy and be calibrated."""
    verdict = gate.judge(None, gate.champion)
    assert verdict.kind == "promote"
    assert not verdict.measured.gains
    assert verdict.measured.policy.promised == 0.9
    assert verdict.measured.policy.value == gate.champion.bundle.manifest["metrics"]["recall"]
    limit = gate.declaration.gate.max_calibration_share * gate.window["is_fraud"].mean()
    assert verdict.measured.calibration_error.limit == pytest.approx(limit, rel=1e-5)
    (objection,) = gate.judge(None, gate.version(shift=2)).objections
    assert objection.startswith("its calibration error is")
    (objection,) = gate.judge(None, gate.with_threshold(0.9)).objections
    assert objection.startswith("its policy promises a recall of at least 0.9; on these rows the recall is ")


def test_rows_that_chose_the_threshold_are_refused(trained: Path, gate: Gate) -> None:
    """A window that begins before the challenger's own rows end is refused: it has learned some of these rows."""
    learned = pd.read_parquet(trained / "build" / "mini" / "rows" / "train.parquet")
    train_window = gate.champion.bundle.manifest["windows"]["train"]
    (objection,) = gate.judge(gate.champion, gate.champion, pd.concat([learned, gate.window])).objections
    assert objection.startswith(f"it has learned from rows of this window, which begins {train_window['from']}; ")
    assert objection.endswith(f"its own rows end {train_window['to']}")


def test_rows_that_the_champion_learned_are_a_doubt(gate: Gate) -> None:
    """A window that includes even a day of the champion's own rows flatters the champion, so the gate cannot tell."""
    windows = json.loads(json.dumps(gate.champion.bundle.manifest["windows"]))
    begins = pd.Timestamp(gate.window["at"].min(), unit="s").floor("s")
    for end, is_seen in ((begins + pd.Timedelta("1D"), True), (begins, False)):
        windows["calibrate"]["to"] = end.isoformat()
        champion = gate.version(windows=windows)
        verdict = gate.judge(champion, gate.champion)
        doubt = (
            f"the champion, {champion.version}, has learned from rows of this window, which begins "
            f"{begins.isoformat()}; its own rows end {end.isoformat()}; the two can be compared only on later rows"
        )
        assert (verdict.kind, doubt in verdict.doubts) == (("cannot tell", True) if is_seen else ("promote", False))
        assert doubt not in gate.judge(None, champion).reasons


def test_windows_of_steps_are_not_compared(gate: Gate) -> None:
    """If times are steps rather than dates, windows are not compared, and nothing is read as a date."""
    windows = {
        name: window | {"from": f"{number}0,000", "to": f"{number}2,345"}
        for number, (name, window) in enumerate(gate.champion.bundle.manifest["windows"].items(), start=1)
    }
    counted = gate.version(windows=windows)
    steps = gate.window.assign(at=np.arange(len(gate.window), dtype=float))
    for scorer, rows in ((counted, steps), (gate.champion, steps), (counted, gate.window)):
        verdict = gate.judge(scorer, scorer, rows)
        assert (verdict.objections, verdict.measured.rows) == ((), len(rows))


@pytest.mark.parametrize(
    ("kept", "counts"),
    [
        pytest.param(lambda rows: rows[rows["is_fraud"] == 0], "0 of the window's 275 rows", id="no fraud"),
        pytest.param(lambda rows: rows[rows["is_fraud"] == 1], "25 of the window's 25 rows", id="only frauds"),
        pytest.param(lambda rows: rows.head(0), "0 of the window's 0 rows", id="no rows"),
    ],
)
def test_window_needs_both_classes(gate: Gate, kept: Callable[[pd.DataFrame], pd.DataFrame], counts: str) -> None:
    """On rows of one class, or none, no challenger passes, and the message says what would help."""
    for champion, takers in ((gate.champion, "both accept"), (None, "it accepts")):
        lack = f"that {takers} are frauds; the gate needs both frauds and other rows: declare a longer test window"
        verdict = gate.judge(champion, gate.champion, kept(gate.window))
        assert (verdict.kind, verdict.reasons[-1]) == ("cannot tell", f"{counts} {lack}")


def test_rows_that_are_no_requests_are_said_first(gate: Gate) -> None:
    """They are named first: if all frauds are among them, a longer window alone would not help."""
    dear = gate.window[(gate.window["is_fraud"] == 0) | (gate.window["amount"] > 200)]
    verdict = gate.judge(None, gate.narrower(), dear)
    left_out = (dear["amount"] > 200).sum()
    rejected = f"{left_out} of the window's {len(dear)} rows are rejected by its contract; gate.max_left_out is "
    assert [text for text in verdict.objections if text.startswith(rejected)]
    assert verdict.doubts[-1].startswith(f"0 of the window's {len(dear) - left_out} rows that it accepts are frauds; ")


def test_rows_beyond_the_champions_contract_are_left_out(gate: Gate) -> None:
    """Rows that the champion would refuse are counted, and both are judged on the others as if they did not exist."""
    narrower = gate.narrower()
    dear = gate.window["amount"] > 200
    verdict = gate.judge(narrower, gate.champion)
    assert verdict.measured.left_out == dear.sum() > 0
    left_out = (
        f"{dear.sum()} of the window's {len(gate.window)} rows are rejected by the contract of the champion or the "
        "challenger; gate.max_left_out is "
    )
    assert verdict.objections == (f"{left_out}{gate.declaration.gate.max_left_out:g}",)
    share = dear.sum() / len(gate.window)
    for limit, is_refused in ((share - 0.005, True), (share + 0.005, False)):
        gate.declare(max_left_out=limit)
        assert (f"{left_out}{limit:g}" in gate.judge(narrower, gate.champion).objections) is is_refused
    rest = gate.judge(narrower, gate.champion, gate.window[~dear]).measured.model_copy(update={"window": None})
    assert verdict.measured.model_copy(update={"left_out": 0, "window": None}) == rest
    # The other way round the challenger refuses what the champion promises, however well it ranks.
    objections = gate.judge(gate.champion, narrower).objections
    assert "its contract breaks the champion's: its amountUsd has a maximum of 200, not 100000" in objections


def test_what_rules_read_must_not_vanish(gate: Gate) -> None:
    """Clients that read `band` or `score` would fail without them; a champion that has neither loses nothing."""
    plain = gate.champion.bundle.manifest["decision"]
    banded = gate.version(
        decision=plain | {"block": {"policy": {"precision": 0.1}, "threshold": 0.9}, "score": 1000}, scale=[0.5] * 1000
    )
    missing = [f"its contract breaks the champion's: its answers have no {key}" for key in ("band", "score")]
    assert [text for text in gate.judge(banded, gate.champion).objections if "no " in text] == missing
    assert not [text for text in gate.judge(gate.champion, banded).objections if "have no" in text]


def test_former_release_is_compared_by_the_rows_that_it_takes(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    """All are judged on these rows if they are nearly all of each class; otherwise it is left out with a warning."""
    former, dear = gate.narrower(), gate.window["amount"] > 200
    frauds, others = gate.window["is_fraud"] == 1, gate.window["is_fraud"] == 0
    shares = [(dear & rows).sum() / rows.sum() for rows in (frauds, others)]
    assert 0 < dear.sum() / len(gate.window) < max(shares) - 0.01
    gate.declare(max_left_out=max(shares) + 0.001)
    compared = gate.judge(gate.champion, gate.champion, former=former)
    rest = gate.judge(gate.champion, gate.champion, gate.window[~dear], former=former)
    measured = compared.measured
    assert (measured.best_former.version, measured.left_out) == (former.version, dear.sum())
    assert measured.rows == len(gate.window) - dear.sum()
    assert measured.model_copy(update={"left_out": 0, "window": None}) == rest.measured.model_copy(
        update={"window": None}
    )
    assert compared.objections == ()
    assert "WARNING" not in capsys.readouterr().out
    limit = max(shares) - 0.001
    gate.declare(max_left_out=limit)
    left_out = gate.judge(gate.champion, gate.champion, former=former)
    assert left_out == gate.judge(gate.champion, gate.champion)
    assert (
        f"WARNING: {former.version}, the best release so far, is left out of the comparison: its contract rejects "
        f"{(dear & frauds).sum()} of {frauds.sum()} frauds and {(dear & others).sum()} of {others.sum()} other "
        f"rows; gate.max_left_out is {limit:g}\n"
    ) in capsys.readouterr().out


def test_recall_is_within_the_champions_alert_budget(gate: Gate) -> None:
    """Recall is that of the riskiest rows, at most as many as the champion flags; ties count together or not at all."""
    label, probability = gate.window["is_fraud"].to_numpy(), gate.probabilities(gate.champion)
    # A budget that ends just before a fraud, where one row more would make a difference.
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
    """The same seed gives the same numbers, and another seed draws other resamples."""
    challenger, verdicts = gate.version(slope=-1), []
    for seed in (7, 7, 8):
        gate.declaration = gate.declaration.model_copy(update={"seed": seed})
        verdicts.append(gate.judge(gate.champion, challenger))
    first, again, other = verdicts
    assert first == again
    assert first.measured.average_precision.low != other.measured.average_precision.low


def test_champion_that_flags_nothing_is_no_measure(gate: Gate) -> None:
    """If the champion flags nothing any more, a challenger may flag what was agreed, but not far more."""
    blind, alarmist = gate.with_threshold(1.0), gate.with_threshold(0.0)
    agreed = agreed_rate(blind.bundle.baseline["score"])
    verdict = gate.judge(blind, gate.champion)
    assert verdict.measured.alert_rate.champion == 0
    assert verdict.measured.recall_at_the_alert_budget.champion == 0
    assert 0 < verdict.measured.alert_rate.challenger < 1.5 * agreed
    assert verdict.objections == ()
    (objection,) = gate.judge(blind, alarmist).objections
    assert objection == f"it flags 100.00% of the rows; the champion flags 0.00% and was meant to flag {agreed:.2%}"
