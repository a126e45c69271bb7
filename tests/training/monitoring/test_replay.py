"""Replay: when each policy retrains, what happens after a refusal or without a model, and the weekly counts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from handler.scoring.fields import SECONDS_A_DAY
from tests.training.replayed_week import replayed_week
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.monitoring.dated_model import DatedModel
from training.monitoring.replay import POLICIES, SECONDS_A_WEEK, Replay, policy_total
from training.params import Decision, Model
from training.report.backtest_report import Week

BEGIN = pd.Timestamp("2025-01-01").timestamp()
START = BEGIN + 9 * SECONDS_A_WEEK
"""2025-03-05, nine weeks after the history begins."""
EVERY = 3
SMALL = Model(rounds=10, max_depth=3, learning_rate=0.3)
Weeks = dict[str, list[Week]]
Make = Callable[..., Replay]


def changed_fraud(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, with frauds that become cheap, slow and of one country ten weeks after the history begins."""
    is_late = (rows["at"] >= BEGIN + 10 * SECONDS_A_WEEK) & (rows["is_fraud"] == 1)
    return rows.assign(
        amount=rows["amount"].where(~is_late, (rows["amount"] / 100).round(2)),
        speed=rows["speed"].where(~is_late, rows["speed"] - 9),
        country=rows["country"].where(~is_late, "FR"),
    )


def without(rows: pd.DataFrame, first_day: float, end_day: float) -> pd.DataFrame:
    """The rows without those of some days, counted from the start of the replay."""
    days = (rows["at"] - START) / SECONDS_A_DAY
    return rows[(days < first_day) | (days >= end_day)].reset_index(drop=True)


def without_frauds(rows: pd.DataFrame, first_day: float, end_day: float) -> pd.DataFrame:
    """The rows, with those of some days made legitimate."""
    days = (rows["at"] - START) / SECONDS_A_DAY
    return rows.assign(is_fraud=rows["is_fraud"].where((days < first_day) | (days >= end_day), 0))


@pytest.fixture(scope="module")
def rows(history: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    """Eighteen weeks of rows without drift."""
    return history(126)


@pytest.fixture(scope="module")
def make(rows: pd.DataFrame, dated_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame) -> Make:
    """Make a replay of the last nine weeks, the last of them incomplete; fields may be changed."""

    def replayed(changed: pd.DataFrame = rows, scorer: ScorerDeclaration = dated_scorer, **changes: Any) -> Replay:  # noqa: ANN401 - fields of any kind
        fields = {"parameters": SMALL, "catalogue": mini_catalogue, "start": START, "every": EVERY} | changes
        return Replay(changed, scorer, **fields)

    return replayed


@pytest.fixture(scope="module")
def calm(make: Make) -> tuple[Replay, Weeks]:
    """The replay of a history without drift."""
    replay = make()
    return replay, replay.run()


@pytest.fixture(scope="module")
def drifted(make: Make, rows: pd.DataFrame) -> tuple[Replay, Weeks]:
    """The replay of a history in which fraud changes."""
    replay = make(changed_fraud(rows))
    return replay, replay.run()


def challenged_in(weeks: list[Week]) -> list[int]:
    """The numbers of the weeks in which a new model was trained, or could not be."""
    return [number for number, week in enumerate(weeks) if week.retrained or week.refused]


def serving(replay: Replay, weeks: list[Week]) -> list[DatedModel]:
    """The model that served in each week."""
    current, models = replay.model(START), []
    for week in weeks:
        current = replay.model(week.begins) if week.retrained else current
        models.append(current)
    return models


def rows_in(replay: Replay, week: Week) -> pd.DataFrame:
    """A week's rows."""
    seconds = replay.rows["at"]
    return replay.rows[(seconds >= week.begins) & (seconds < week.begins + SECONDS_A_WEEK)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("frozen", []),
        ("scheduled", [(week, state) for week in (4, 8) for state in ("insufficient", "ok", "watch", "retrain")]),
        ("on retrain", [(week, "retrain") for week in range(10)]),
        ("on watch", [(week, state) for week in range(10) for state in ("watch", "retrain")]),
    ],
)
def test_policy_retrains_when_it_should(policy: str, expected: list[tuple[int, str]]) -> None:
    """Policies retrain never, every four weeks except the first, or in each week that the monitor asks for it."""
    cases = [(week, state) for week in range(10) for state in ("insufficient", "ok", "watch", "retrain")]
    assert [(week, state) for week, state in cases if POLICIES[policy](week, state, 4)] == expected


def test_replay_follows_the_policies(drifted: tuple[Replay, Weeks]) -> None:
    """Each policy has every whole week, and a new or refused model in exactly the weeks in which it retrains."""
    for name, weeks in drifted[1].items():
        due = [number for number, week in enumerate(weeks) if POLICIES[name](number, week.state, EVERY)]
        assert challenged_in(weeks) == due
        assert [week.begins for week in weeks] == [START + number * SECONDS_A_WEEK for number in range(8)]
    assert [challenged_in(weeks)[:2] for weeks in drifted[1].values()] == [[], [3, 6], [3, 4], [3, 4]]


def test_retraining_restores_what_changed_fraud_cost(drifted: tuple[Replay, Weeks]) -> None:
    """When fraud changes, the monitor says retrain, and a new model catches more than the frozen one."""
    frozen, *alarmed = (policy_total(drifted[1][name]) for name in ("frozen", "on retrain", "on watch"))
    assert frozen.retrained == 0
    for policy in alarmed:
        assert policy.retrained > 0
        assert policy.recall_at_frozen_alerts_interval[0] > frozen.recall_at_frozen_alerts_interval[1]
    # After retraining, the record of the former model no longer counts.
    weeks = drifted[1]["on retrain"]
    (first,) = [number for number, week in enumerate(weeks) if week.retrained]
    assert [weeks[number].state for number in (first - 1, first, first + 1)] == ["retrain", "retrain", "ok"]


def test_frozen_model_is_never_replaced(drifted: tuple[Replay, Weeks]) -> None:
    """The frozen model serves every week and is never challenged, so both of its recalls are the same."""
    replay, weeks_of = drifted
    weeks = weeks_of["frozen"]
    assert {week.learned_until for week in weeks} == {int(replay.model(START).learned_until)}
    assert {week.refused for week in weeks} == {None}
    assert [week.caught for week in weeks] == [week.caught_at_frozen_alerts for week in weeks]
    assert policy_total(weeks).recall == policy_total(weeks).recall_at_frozen_alerts


def test_policies_share_the_model_of_a_day(drifted: tuple[Replay, Weeks]) -> None:
    """Policies that retrain on the same day share one model object, and no other day has a model."""
    replay, weeks_of = drifted
    champion, on_day = replay.model(START), replay.begins[5]
    assert all(weeks_of[name][5].retrained for name in ("on retrain", "on watch"))
    first, second = (replay.challenge(champion, on_day)[0] for _ in range(2))
    assert first is second is replay.models[on_day]
    days = {replay.begins[number] for weeks in weeks_of.values() for number in challenged_in(weeks)}
    assert replay.models.keys() <= days | {START}


def test_refused_challenger_leaves_the_champion(make: Make, calm: tuple[Replay, Weeks]) -> None:
    """A model that the gate refuses does not serve, and the week has the gate's reason."""
    replay, weeks_of = calm
    day = START + EVERY * SECONDS_A_WEEK
    model = replay.model(day)
    reversed_model = replace(model, calibration={name: -value for name, value in model.calibration.items()})
    weeks = make(models=replay.models | {day: reversed_model}).run()["scheduled"]
    assert [week.retrained for week in weeks] == [number == 6 for number in range(8)]
    assert "its average precision is 0." in weeks[3].refused
    first = int(replay.model(START).learned_until)
    assert [week.learned_until == first for week in weeks] == [number < 6 for number in range(8)]
    assert [week.model_copy(update={"refused": None}) for week in weeks[:6]] == weeks_of["frozen"][:6]
    assert (policy_total(weeks).refused, policy_total(weeks).retrained) == (1, 1)


def test_date_without_a_model_keeps_the_champion(make: Make, rows: pd.DataFrame) -> None:
    """If no recent fraud is known, no model can be trained; this is counted, and the champion stays."""
    weeks = make(without_frauds(rows, 11, 20)).run()["scheduled"]
    assert weeks[3].refused.startswith("the test window has only is_fraud = 0 in 3")
    assert [week.retrained for week in weeks] == [number == 6 for number in range(8)]
    assert policy_total(weeks).refused == 1


@pytest.mark.parametrize("which", ["calm", "drifted"])
def test_week_is_counted_as_its_model_scores_it(which: str, request: pytest.FixtureRequest) -> None:
    """Rows, alerts, caught frauds and cost (missed amounts and reviews) are those of the model that served."""
    replay, weeks_of = request.getfixturevalue(which)
    for weeks in weeks_of.values():
        for week, model in zip(weeks, serving(replay, weeks), strict=True):
            served = rows_in(replay, week)
            flagged, is_fraud = model.scored(served, replay.scorer).flagged, served["is_fraud"] == 1
            assert (week.rows, week.frauds) == (len(served), is_fraud.sum())
            assert week.alerts == flagged.sum()
            assert week.caught == (flagged & is_fraud).sum()
            assert week.missed == pytest.approx(served.loc[is_fraud & ~flagged, "amount"].sum())
            assert week.cost == pytest.approx(week.missed + 2.0 * flagged.sum())
            assert week.learned_until == int(model.learned_until) < week.begins


def most_caught(probability: np.ndarray, label: np.ndarray, budget: int) -> tuple[int, int]:
    """Frauds caught and rows flagged at the threshold that flags the most rows within a budget."""
    sizes = [(probability >= threshold) for threshold in np.unique(probability)]
    within = [flagged for flagged in sizes if flagged.sum() <= budget]
    largest = max(within, key=np.sum, default=np.zeros(len(label), dtype=bool))
    return int(label[largest].sum()), int(largest.sum())


@pytest.mark.parametrize("parameters", [SMALL, Model(rounds=2, max_depth=2, learning_rate=0.3)], ids=["fine", "coarse"])
def test_frozen_alerts_are_never_exceeded(
    make: Make, rows: pd.DataFrame, dated_scorer: ScorerDeclaration, parameters: Model
) -> None:
    """At the frozen model's alerts, the riskiest rows count, at most as many, and ties all or none."""
    budgeted = dated_scorer.model_copy(update={"decision": Decision(review_rate=0.1)})
    replay = make(rows, budgeted, parameters=parameters, every=2)
    weeks_of = replay.run()
    spared = 0
    for weeks in weeks_of.values():
        for week, frozen, model in zip(weeks, weeks_of["frozen"], serving(replay, weeks), strict=True):
            scored = model.scored(rows_in(replay, week), replay.scorer)
            caught, n_flagged = most_caught(scored.probability, scored.label, frozen.alerts)
            assert week.caught_at_frozen_alerts == caught
            spared += frozen.alerts - n_flagged
    assert policy_total(weeks_of["scheduled"]).retrained > 0
    assert spared > 0


def test_without_drift_no_policy_is_worse(calm: tuple[Replay, Weeks]) -> None:
    """If nothing changes, nothing alarms; only scheduled models are trained, and are no worse beyond chance."""
    replay, weeks_of = calm
    totals = {name: policy_total(weeks) for name, weeks in weeks_of.items()}
    assert {week.state for weeks in weeks_of.values() for week in weeks} == {"insufficient", "ok"}
    assert [policy.retrained for policy in totals.values()] == [0, 2, 0, 0]
    assert [policy.refused for policy in totals.values()] == [0] * 4
    assert weeks_of["on retrain"] == weeks_of["on watch"] == weeks_of["frozen"]
    assert set(replay.models) == {START, *(START + week * SECONDS_A_WEEK for week in (3, 6))}
    low, _ = totals["frozen"].recall_at_frozen_alerts_interval
    assert totals["scheduled"].recall_at_frozen_alerts > low


def test_replay_is_deterministic(make: Make, drifted: tuple[Replay, Weeks], rows: pd.DataFrame) -> None:
    """The same history gives the same replay."""
    assert make(changed_fraud(rows)).run() == drifted[1]


@pytest.mark.parametrize("first_day", [14, 8])
def test_weeks_without_rows_are_left_out(make: Make, rows: pd.DataFrame, first_day: int) -> None:
    """A gap of three weeks gives no weeks, and the schedule counts only weeks with rows, even if few days have any."""
    replay = make(without(rows, first_day, 35))
    weeks_of = replay.run()
    begins = [START + week * SECONDS_A_WEEK for week in (0, 1, 5, 6, 7)]
    assert replay.begins == begins
    assert list(weeks_of) == list(POLICIES)
    assert all([week.begins for week in weeks] == begins for weeks in weeks_of.values())
    assert challenged_in(weeks_of["scheduled"]) == [3]
    first, second = weeks_of["frozen"][:2]
    assert (0 < second.rows < first.rows / 3) is (first_day == 8)


def test_week_of_one_class_has_no_average_precision(make: Make, rows: pd.DataFrame) -> None:
    """A week without frauds has no average precision, and the totals leave it out."""
    weeks = make(without_frauds(rows, 7, 14)).run()["frozen"]
    assert [week.average_precision is None for week in weeks] == [number == 1 for number in range(8)]
    assert (weeks[1].frauds, weeks[1].caught, weeks[1].missed) == (0, 0, 0.0)
    measured = [week.average_precision for number, week in enumerate(weeks) if number != 1]
    assert policy_total(weeks).average_precision == pytest.approx(np.mean(measured))


def test_without_costs_there_is_no_cost(make: Make, rows: pd.DataFrame, dated_scorer: ScorerDeclaration) -> None:
    """A scorer without costs has none in its weeks and totals."""
    weeks = make(rows, dated_scorer.model_copy(update={"costs": None})).run()["frozen"]
    assert not {"missed", "cost"} & (weeks[0].content().keys() | policy_total(weeks).content().keys())


@pytest.mark.parametrize(
    ("days", "sentence"),
    [
        (120, "no whole week from 2025-05-01T00:00:00 on has rows; the last row is dated 2025-05-06T23:"),
        (300, "no whole week from 2025-10-28T00:00:00 on has rows; the last row is dated 2025-05-06T23:"),
        (63, "no whole week from 2025-03-05T00:00:00 on has rows; the last row is dated 2025-05-06T23:"),
        (
            0,
            "no first model can be trained on 2025-01-01T00:00:00: no label was known on 2025-01-01T00:00:00; begin",
        ),
        (12, "no first model can be trained on 2025-01-13T00:00:00: the train window has no rows; it must have both"),
    ],
    ids=["less than a week", "after the end", "nothing before the last days", "nothing known", "nothing to learn from"],
)
def test_history_that_cannot_be_replayed_is_an_error(make: Make, rows: pd.DataFrame, days: int, sentence: str) -> None:
    """If nothing can be replayed, the error says what is missing, and no model has been trained."""
    start = BEGIN + days * SECONDS_A_DAY
    replay = make(without(rows, 0, 60) if start == START else rows, start=start)
    with pytest.raises(DataError) as caught:
        replay.run()
    assert str(caught.value).startswith(sentence)
    assert replay.models == {}


def test_total_is_the_weeks_sum() -> None:
    """Counts and costs are summed, and shares are computed from the sums."""
    counts = {"rows": 200, "frauds": 20, "alerts": 40, "caught": 15, "caught_at_frozen_alerts": 10}
    better = {"frauds": 60, "caught": 45, "average_precision": 0.7, "retrained": True}
    weeks = [
        replayed_week(**counts),
        replayed_week(**counts | better),
        replayed_week(**counts, refused="it flags more"),
    ]
    assert policy_total(weeks).content() | {"recall_at_frozen_alerts_interval": None} == {
        "weeks": 3,
        "retrained": 1,
        "rows": 600,
        "frauds": 100,
        "alerts": 120,
        "caught": 75,
        "caught_at_frozen_alerts": 30,
        "recall": 0.75,
        "precision": 0.625,
        "alert_rate": 0.2,
        "recall_at_frozen_alerts": 0.3,
        "recall_at_frozen_alerts_interval": None,
        "average_precision": pytest.approx((0.5 + 0.7 + 0.5) / 3),
        "refused": 1,
        "missed": 3 * 1_234.5,
        "cost": 3 * 1_394.5,
    }
    # Wilson's interval of 30 in 100, as R's prop.test(correct = FALSE) computes it.
    assert policy_total(weeks).recall_at_frozen_alerts_interval == pytest.approx((0.2189, 0.3958), abs=1e-4)


def test_interval_of_the_total_is_by_entities() -> None:
    """Frauds of one card that are caught or missed together count as one, even in different weeks."""
    weeks = [
        replayed_week(
            frauds=40,
            caught_at_frozen_alerts=30,
            fraud_entities=tuple((card, card < 15) for card in range(20) for _ in range(2)),
        )
        for _ in range(2)
    ]
    # Wilson's interval of 15 in 20 cards, with t of 19 degrees of freedom for this number of cards;
    # by rows, 60 in 80, it would be .645 to .832.
    assert policy_total(weeks).recall_at_frozen_alerts == 0.75
    assert policy_total(weeks).recall_at_frozen_alerts_interval == pytest.approx((0.5100, 0.8964), abs=1e-4)
    assert "fraud_entities" not in weeks[0].content()


def test_weeks_know_the_entities_of_their_frauds(
    make: Make, rows: pd.DataFrame, dated_scorer: ScorerDeclaration
) -> None:
    """If an entity is declared, a week lists each fraud's entity and whether it was caught, as the counts do."""
    carded = rows.assign(card=np.arange(len(rows)) // 3)
    replay = make(carded, dated_scorer.model_copy(update={"entity": "card"}))
    for weeks in replay.run().values():
        for week in weeks:
            served = rows_in(replay, week)
            cards = carded["card"][served.index[served["is_fraud"] == 1]]
            assert [card for card, _ in week.fraud_entities] == cards.tolist()
            assert sum(is_caught for _, is_caught in week.fraud_entities) == week.caught_at_frozen_alerts


def test_total_of_nothing_is_unknown() -> None:
    """Without frauds the recall is unknown, and without alerts the precision."""
    nothing = {"frauds": 0, "alerts": 0, "caught": 0, "caught_at_frozen_alerts": 0, "average_precision": None}
    sums = policy_total([replayed_week(**nothing)])
    names = ("recall", "precision", "recall_at_frozen_alerts", "average_precision")
    assert {name: getattr(sums, name) for name in names} == dict.fromkeys(names)
    assert sums.recall_at_frozen_alerts_interval == (0.0, 1.0)
