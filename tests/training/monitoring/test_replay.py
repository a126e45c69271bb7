"""Replay: who retrains when, what the gate's refusal and a missing model leave, and what is counted of each week."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.monitoring.dated_model import DatedModel
from training.monitoring.replay import POLICIES, SECONDS_A_WEEK, Replay, total
from training.params import SECONDS_A_DAY, Decision, Model
from training.report.backtest_report import Week, WeekEstimate

BEGIN = pd.Timestamp("2025-01-01").timestamp()
START = BEGIN + 9 * SECONDS_A_WEEK
"""2025-03-05, nine weeks after the history begins."""
EVERY = 3
SMALL = Model(rounds=10, max_depth=3, learning_rate=0.3)
Weeks = dict[str, list[Week]]
Make = Callable[..., Replay]


def changed_fraud(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, with cheap and slow frauds from one country only, ten weeks after the history begins."""
    is_late = (rows["at"] >= BEGIN + 10 * SECONDS_A_WEEK) & (rows["is_fraud"] == 1)
    return rows.assign(
        amount=rows["amount"].where(~is_late, (rows["amount"] / 100).round(2)),
        speed=rows["speed"].where(~is_late, rows["speed"] - 9),
        country=rows["country"].where(~is_late, "FR"),
    )


def without(rows: pd.DataFrame, first_day: float, end_day: float) -> pd.DataFrame:
    """The rows but for those of some days, counted from where the replay starts."""
    days = (rows["at"] - START) / SECONDS_A_DAY
    return rows[(days < first_day) | (days >= end_day)].reset_index(drop=True)


@pytest.fixture(scope="module")
def rows(history: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    """Eighteen weeks of rows without drift."""
    return history(126)


@pytest.fixture(scope="module")
def make(rows: pd.DataFrame, dated_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame) -> Make:
    """Makes a replay of the last nine weeks, of which the last is not whole, but for what is asked otherwise."""

    def replayed(changed: pd.DataFrame = rows, scorer: ScorerDeclaration = dated_scorer, **changes: Any) -> Replay:  # noqa: ANN401 - fields of any kind
        asked = {"parameters": SMALL, "catalogue": mini_catalogue, "start": START, "every": EVERY} | changes
        return Replay(changed, scorer, **asked)

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


@pytest.fixture
def reversed_model(calm: tuple[Replay, Weeks]) -> DatedModel:
    """A model that ranks the wrong way round."""
    model = calm[0].model(START + EVERY * SECONDS_A_WEEK)
    return replace(model, calibration={name: -value for name, value in model.calibration.items()})


def asked_in(weeks: list[Week]) -> list[int]:
    """The weeks' numbers in which a new model was made, or was to be made."""
    return [number for number, week in enumerate(weeks) if week.retrained or week.refused]


def serving(replay: Replay, weeks: list[Week]) -> list[DatedModel]:
    """Which model served in each week."""
    current, found = replay.model(START), []
    for week in weeks:
        current = replay.model(week.begins) if week.retrained else current
        found.append(current)
    return found


def rows_in(replay: Replay, week: Week) -> pd.DataFrame:
    """A week's rows."""
    seconds = replay.rows["at"]
    return replay.rows[(seconds >= week.begins) & (seconds < week.begins + SECONDS_A_WEEK)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("frozen", []),
        ("scheduled", [(week, state) for week in (4, 8) for state in ("ok", "watch", "retrain")]),
        ("on retrain", [(week, "retrain") for week in range(10)]),
        ("on watch", [(week, state) for week in range(10) for state in ("watch", "retrain")]),
    ],
)
def test_policy_asks_when_it_should(policy: str, expected: list[tuple[int, str]]) -> None:
    """Never, every four weeks but not in the first, or in each week in which the monitor says so."""
    asked = [
        (week, state) for week in range(10) for state in ("ok", "watch", "retrain") if POLICIES[policy](week, state, 4)
    ]
    assert asked == expected


def test_replay_asks_as_the_policies_do(drifted: tuple[Replay, Weeks]) -> None:
    """In each week a policy makes a new model, or hears what speaks against it, exactly where it asks for one."""
    for name, weeks in drifted[1].items():
        due = [number for number, week in enumerate(weeks) if POLICIES[name](number, week.state, EVERY)]
        assert asked_in(weeks) == due
    assert [asked_in(weeks)[:2] for weeks in drifted[1].values()] == [[], [3, 6], [3, 4], [3, 4]]


def test_all_policies_see_the_same_weeks(drifted: tuple[Replay, Weeks]) -> None:
    """Each policy has every whole week, beginning with the first model, with its rows and its frauds."""
    replay, found = drifted
    begins = [START + week * SECONDS_A_WEEK for week in range(8)]
    for weeks in found.values():
        assert [week.begins for week in weeks] == begins == replay.begins
        for week in weeks:
            assert week.rows == len(rows_in(replay, week))
            assert week.frauds == rows_in(replay, week)["is_fraud"].sum()


def test_retraining_brings_back_what_changed_fraud_took(drifted: tuple[Replay, Weeks]) -> None:
    """Where fraud changes, alarms say retrain, a new model is made of it, and catches more than the frozen one."""
    frozen, *alarmed = (total(drifted[1][name]) for name in ("frozen", "on retrain", "on watch"))
    assert frozen.retrained == 0
    for one in alarmed:
        assert one.retrained > 0
        assert one.recall_at_frozen_alerts_interval[0] > frozen.recall_at_frozen_alerts_interval[1]


def test_new_model_begins_with_a_clean_record(drifted: tuple[Replay, Weeks]) -> None:
    """After a model was retrained, what the former one did counts no more."""
    weeks = drifted[1]["on retrain"]
    (first,) = [number for number, week in enumerate(weeks) if week.retrained]
    assert [weeks[number].state for number in (first - 1, first, first + 1)] == ["retrain", "retrain", "ok"]


def test_frozen_learns_nothing(drifted: tuple[Replay, Weeks]) -> None:
    """The frozen model serves in every week, and is never challenged."""
    replay, found = drifted
    assert {week.learned_until for week in found["frozen"]} == {int(replay.model(START).learned_until)}
    assert {week.refused for week in found["frozen"]} == {None}


def test_policies_share_the_model_of_a_day(drifted: tuple[Replay, Weeks]) -> None:
    """Two policies that retrain on the same day share one object, and no date has a second model."""
    replay, found = drifted
    champion, on_day = replay.model(START), replay.begins[5]
    assert all(found[name][5].retrained for name in ("on retrain", "on watch"))
    first, second = (replay.challenge(champion, on_day)[0] for _ in range(2))
    assert first is second is replay.models[on_day]
    moments = {replay.begins[number] for weeks in found.values() for number in asked_in(weeks)}
    assert replay.models.keys() <= moments | {START}


def test_no_model_is_trained_without_need(calm: tuple[Replay, Weeks]) -> None:
    """Without drift only the first model and the scheduled ones are made."""
    replay, _ = calm
    assert set(replay.models) == {START, *(START + week * SECONDS_A_WEEK for week in (3, 6))}


def test_refused_challenger_leaves_the_champion(
    make: Make, calm: tuple[Replay, Weeks], reversed_model: DatedModel
) -> None:
    """What the gate refuses does not serve, and is counted with the gate's sentence."""
    models = calm[0].models | {START + EVERY * SECONDS_A_WEEK: reversed_model}
    weeks = make(models=models).run()["scheduled"]
    assert [week.retrained for week in weeks] == [number == 6 for number in range(8)]
    assert "its average precision is 0." in weeks[3].refused
    first = int(calm[0].model(START).learned_until)
    assert [week.learned_until == first for week in weeks] == [number < 6 for number in range(8)]
    assert [week.model_copy(update={"refused": None}) for week in weeks[:6]] == calm[1]["frozen"][:6]
    assert (total(weeks).refused, total(weeks).retrained) == (1, 1)


def test_date_without_a_model_keeps_the_champion(make: Make, rows: pd.DataFrame) -> None:
    """Where no recent fraud was known no model can be trained; that is counted, and the champion stays."""
    days = (rows["at"] - START) / SECONDS_A_DAY
    honest = rows.assign(is_fraud=rows["is_fraud"].where((days < 11) | (days >= 20), 0))
    weeks = make(honest).run()["scheduled"]
    assert weeks[3].refused.startswith("the test window has only is_fraud = 0 in 3")
    assert [week.retrained for week in weeks] == [number == 6 for number in range(8)]
    assert total(weeks).refused == 1


@pytest.mark.parametrize("which", ["calm", "drifted"])
def test_week_is_counted_as_its_model_scores_it(which: str, request: pytest.FixtureRequest) -> None:
    """Alerts, frauds caught, and the cost (missed amounts and reviews) are those of the model that served."""
    replay, found = request.getfixturevalue(which)
    for weeks in found.values():
        for week, model in zip(weeks, serving(replay, weeks), strict=True):
            served = rows_in(replay, week)
            flagged, is_fraud = model.scored(served, replay.scorer).flagged, served["is_fraud"] == 1
            assert week.alerts == flagged.sum()
            assert week.caught == (flagged & is_fraud).sum()
            assert week.missed == pytest.approx(served.loc[is_fraud & ~flagged, "amount"].sum())
            assert week.cost == pytest.approx(week.missed + 2.0 * flagged.sum())
            assert week.learned_until == int(model.learned_until) < week.begins


def most_caught(probability: np.ndarray, label: np.ndarray, budget: int) -> tuple[int, int]:
    """How many frauds a threshold catches that flags at most so many rows, and how many it flags."""
    sizes = [(probability >= threshold) for threshold in np.unique(probability)]
    within = [flagged for flagged in sizes if flagged.sum() <= budget]
    largest = max(within, key=np.sum, default=np.zeros(len(label), dtype=bool))
    return int(label[largest].sum()), int(largest.sum())


@pytest.mark.parametrize("parameters", [SMALL, Model(rounds=2, max_depth=2, learning_rate=0.3)], ids=["fine", "coarse"])
def test_frozen_alerts_are_never_exceeded(
    make: Make, rows: pd.DataFrame, dated_scorer: ScorerDeclaration, parameters: Model
) -> None:
    """At the frozen model's alerts the riskiest rows count, at most as many, tied ones all or none."""
    budgeted = dated_scorer.model_copy(update={"decision": Decision(review_rate=0.1)})
    replay = make(rows, budgeted, parameters=parameters, every=2)
    found = replay.run()
    spared = 0
    for weeks in found.values():
        for week, frozen, model in zip(weeks, found["frozen"], serving(replay, weeks), strict=True):
            scored = model.scored(rows_in(replay, week), replay.scorer)
            caught, n_flagged = most_caught(scored.probability, scored.label, frozen.alerts)
            assert week.caught_at_frozen_alerts == caught
            spared += frozen.alerts - n_flagged
    assert total(found["scheduled"]).retrained > 0
    assert spared > 0


def test_frozen_model_is_measured_at_its_own_alerts(drifted: tuple[Replay, Weeks]) -> None:
    """The frozen model's recall is its recall at the frozen model's alerts, in each week and in all."""
    weeks = drifted[1]["frozen"]
    assert [week.caught for week in weeks] == [week.caught_at_frozen_alerts for week in weeks]
    assert total(weeks).recall == total(weeks).recall_at_frozen_alerts


def test_without_drift_nothing_ends_worse(calm: tuple[Replay, Weeks]) -> None:
    """Where nothing changes nothing alarms, the schedule passes the gate, and no policy is worse beyond chance."""
    totals = {name: total(weeks) for name, weeks in calm[1].items()}
    assert {week.state for weeks in calm[1].values() for week in weeks} == {"ok"}
    assert [one.retrained for one in totals.values()] == [0, 2, 0, 0]
    assert [one.refused for one in totals.values()] == [0] * 4
    assert calm[1]["on retrain"] == calm[1]["on watch"] == calm[1]["frozen"]
    low, _ = totals["frozen"].recall_at_frozen_alerts_interval
    assert totals["scheduled"].recall_at_frozen_alerts > low


def test_replay_repeats_itself(make: Make, drifted: tuple[Replay, Weeks], rows: pd.DataFrame) -> None:
    """The same history is replayed the same way."""
    assert make(changed_fraud(rows)).run() == drifted[1]


def test_weeks_without_rows_are_left_out(make: Make, rows: pd.DataFrame) -> None:
    """A gap of three weeks is no week of any policy, and the schedule counts the weeks that there are."""
    replay = make(without(rows, 14, 35))
    found = replay.run()
    begins = [START + week * SECONDS_A_WEEK for week in (0, 1, 5, 6, 7)]
    assert {name: [week.begins for week in weeks] for name, weeks in found.items()} == dict.fromkeys(POLICIES, begins)
    assert replay.begins == begins
    assert asked_in(found["scheduled"]) == [3]


def test_half_a_gap_is_a_week(make: Make, rows: pd.DataFrame) -> None:
    """A week that has rows on one day only is one like any other."""
    found = make(without(rows, 8, 35)).run()["frozen"]
    assert [week.begins for week in found] == [START + week * SECONDS_A_WEEK for week in (0, 1, 5, 6, 7)]
    assert 0 < found[1].rows < found[0].rows / 3


def test_week_of_one_class_has_no_average_precision(make: Make, rows: pd.DataFrame) -> None:
    """A week without a fraud has none to catch, its average precision is unknown, and the sums go on without it."""
    days = (rows["at"] - START) / SECONDS_A_DAY
    honest = rows.assign(is_fraud=rows["is_fraud"].where((days < 7) | (days >= 14), 0))
    weeks = make(honest).run()["frozen"]
    assert [week.average_precision is None for week in weeks] == [number == 1 for number in range(8)]
    assert (weeks[1].frauds, weeks[1].caught, weeks[1].missed) == (0, 0, 0.0)
    known = [week.average_precision for number, week in enumerate(weeks) if number != 1]
    assert total(weeks).average_precision == pytest.approx(np.mean(known))


def test_without_costs_there_is_no_cost(make: Make, rows: pd.DataFrame, dated_scorer: ScorerDeclaration) -> None:
    """A scorer that declares no costs has none in its weeks, nor in their sums."""
    weeks = make(rows, dated_scorer.model_copy(update={"costs": None})).run()["frozen"]
    assert not {"missed", "cost"} & (weeks[0].content().keys() | total(weeks).content().keys())


@pytest.mark.parametrize(
    ("start", "change", "sentence"),
    [
        pytest.param(
            BEGIN + 120 * SECONDS_A_DAY,
            lambda rows: rows,
            "no whole week from 2025-05-01T00:00:00 on has rows; the last row is of 2025-05-06T23:",
            id="less than a week",
        ),
        pytest.param(
            BEGIN + 300 * SECONDS_A_DAY,
            lambda rows: rows,
            "no whole week from 2025-10-28T00:00:00 on has rows; the last row is of 2025-05-06T23:",
            id="after the end",
        ),
        pytest.param(
            START,
            lambda rows: without(rows, 0, 60),
            "no whole week from 2025-03-05T00:00:00 on has rows; the last row is of 2025-05-06T23:",
            id="nothing before the last days",
        ),
        pytest.param(
            BEGIN,
            lambda rows: rows,
            "no first model can be made on 2025-01-01T00:00:00: no label was known on 2025-01-01T00:00:00; begin later",
            id="nothing known",
        ),
        pytest.param(
            BEGIN + 12 * SECONDS_A_DAY,
            lambda rows: rows,
            "no first model can be made on 2025-01-13T00:00:00: the train window has no rows; it must have both",
            id="nothing to learn from",
        ),
    ],
)
def test_no_history_is_an_error(
    make: Make, rows: pd.DataFrame, start: float, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str
) -> None:
    """Where there is nothing to replay, the error says what lacks, and no model was made for it."""
    replay = make(change(rows), start=start)
    with pytest.raises(DataError) as caught:
        replay.run()
    assert str(caught.value).startswith(sentence)
    assert replay.models == {}


def week(**changes: Any) -> Week:  # noqa: ANN401 - whatever a week holds
    """A week as a replay describes it."""
    usual: dict[str, Any] = {
        "begins": int(START),
        "state": "ok",
        "learned_until": int(BEGIN),
        "estimated": WeekEstimate(recall=0.7, precision=0.4, average_precision=0.5),
        "retrained": False,
        "refused": None,
        "rows": 200,
        "frauds": 20,
        "alerts": 40,
        "caught": 15,
        "caught_at_frozen_alerts": 10,
        "average_precision": 0.5,
        "missed": 100.0,
        "cost": 180.0,
    }
    return Week(**usual | changes)


def test_total_is_the_weeks_sum() -> None:
    """Counts and costs are added up, and shares are those of the sums."""
    weeks = [week(), week(retrained=True, frauds=60, caught=45, average_precision=0.7), week(refused="it flags more")]
    assert total(weeks).content() | {"recall_at_frozen_alerts_interval": None} == {
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
        "missed": 300.0,
        "cost": 540.0,
    }
    # Wilson's interval of 30 in 100, as R's prop.test(correct = FALSE) has it.
    assert total(weeks).recall_at_frozen_alerts_interval == pytest.approx((0.2189, 0.3958), abs=1e-4)


def test_total_of_nothing_is_unknown() -> None:
    """Without a fraud no recall is known, and without an alert no precision."""
    nothing = {"frauds": 0, "alerts": 0, "caught": 0, "caught_at_frozen_alerts": 0, "average_precision": None}
    found = total([week(**nothing)])
    names = ("recall", "precision", "recall_at_frozen_alerts", "average_precision")
    assert {name: getattr(found, name) for name in names} == dict.fromkeys(names)
    assert found.recall_at_frozen_alerts_interval == (0.0, 1.0)
