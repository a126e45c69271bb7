"""The shadow: scored like the serving version, harmless whatever it does, disabled if it fails or is slow too often."""

import json
from collections.abc import Sequence
from time import sleep

import pytest
from pydantic import BaseModel

from handler.releases.shadow import MAX_STRIKES, STRIKES_PER_SUCCESS, Shadow
from handler.scoring.scorer import Scored, Scorer

# Nothing is missing: a NaN differs from itself.
REQUEST = b'{"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 3, "item": "Pad Thai with tofu"}'
BATCH = b"[" + REQUEST + b"," + REQUEST.replace(b"45", b"900") + b"]"


class Unreliable(Scorer):
    """A scorer that fails with `failure`, if it is set, and takes `seconds`."""

    failure: Exception | None = None
    seconds = 0.0
    n_calls = 0

    def score(self, request: BaseModel) -> Scored:
        """As a scorer does."""
        self._misbehave()
        return super().score(request)

    def scores(self, requests: Sequence[BaseModel]) -> list[Scored]:
        """As a scorer does."""
        self._misbehave()
        return super().scores(requests)

    def _misbehave(self) -> None:
        self.n_calls += 1
        sleep(self.seconds)
        if self.failure:
            raise self.failure


@pytest.fixture
def unreliable(refund: Scorer) -> Unreliable:
    """A version of refund, which neither fails nor waits yet."""
    return Unreliable(refund.bundle)


@pytest.fixture
def shadow(unreliable: Unreliable) -> Shadow:
    """That version in the shadow."""
    return Shadow(unreliable)


@pytest.fixture
def without_time_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a busy machine do not count as slow answers."""
    monkeypatch.setattr("handler.releases.shadow.SLOW_SECONDS", 60)


def ask(shadow: Shadow, n_times: int = 1) -> list[Sequence[Scored | str]]:
    """Its scores of one request, scored so many times."""
    return [shadow.scores(REQUEST, is_batch=False) for _ in range(n_times)]


def ask_in_turn(shadow: Shadow, unreliable: Unreliable, n_times: int, *, n_failing: int, n_well: int) -> None:
    """Have it fail so often and then do well so often, so many times."""
    for _ in range(n_times):
        unreliable.failure = KeyError()
        ask(shadow, n_failing)
        unreliable.failure = None
        ask(shadow, n_well)


def test_a_request_is_scored_as_always(shadow: Shadow, refund: Scorer) -> None:
    """Read by the shadow's own contract."""
    assert ask(shadow) == [[refund.score(refund.request_model.model_validate_json(REQUEST))]]


def test_a_batch_is_scored_in_order(shadow: Shadow, refund: Scorer) -> None:
    """Each request as alone."""
    expected = [refund.score(refund.request_model.model_validate(item)) for item in json.loads(BATCH)]
    assert expected[0] != expected[1]
    assert shadow.scores(bytearray(BATCH), is_batch=True) == expected


@pytest.mark.parametrize("failure", [KeyError("a"), MemoryError(), RecursionError("b"), ZeroDivisionError()])
def test_a_failure_is_named_and_goes_no_further(shadow: Shadow, unreliable: Unreliable, failure: Exception) -> None:
    """By its kind alone: its text may quote the caller."""
    unreliable.failure = failure
    assert ask(shadow) == [(type(failure).__name__,)]
    assert shadow.scores(BATCH, is_batch=True) == (type(failure).__name__,)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", REQUEST[:-1] + b', "colour": "red"}', b"\xff"])
def test_a_body_that_its_contract_refuses_is_a_failure(shadow: Shadow, body: bytes) -> None:
    """The other version has answered it."""
    assert shadow.scores(body, is_batch=False) == ("ValidationError",)


@pytest.mark.usefixtures("without_time_budget")
def test_a_shadow_is_disabled_after_too_many_failures(shadow: Shadow, unreliable: Unreliable) -> None:
    """And not before."""
    unreliable.failure = KeyError()
    ask(shadow, MAX_STRIKES - 1)
    assert not shadow.is_disabled
    assert ask(shadow) == [("KeyError",)]
    assert shadow.is_disabled


def test_a_disabled_shadow_scores_nothing(shadow: Shadow, unreliable: Unreliable) -> None:
    """Even if it would succeed again."""
    unreliable.failure = KeyError()
    ask(shadow, MAX_STRIKES)
    unreliable.failure = None
    assert ask(shadow, 3) == [(), (), ()]
    assert unreliable.n_calls == MAX_STRIKES


def test_disabling_is_logged_once(shadow: Shadow, unreliable: Unreliable, caplog: pytest.LogCaptureFixture) -> None:
    """With the version and the last reason."""
    unreliable.failure = KeyError("what the caller sent")
    ask(shadow, MAX_STRIKES + 10)
    reason = "is disabled after too many failures or slow answers; the last one: KeyError"
    assert caplog.messages == [f"refund: the shadow {unreliable.version} {reason}"]


SUCCESSES_PER_FAILURE = round(1 / STRIKES_PER_SUCCESS)
"""So many successes take back one failure."""


@pytest.mark.usefixtures("without_time_budget")
def test_successes_make_up_for_failures(shadow: Shadow, unreliable: Unreliable) -> None:
    """Four for one: a shadow that fails at every fifth request stays enabled."""
    ask_in_turn(shadow, unreliable, 10 * MAX_STRIKES, n_failing=1, n_well=SUCCESSES_PER_FAILURE)
    assert not shadow.is_disabled


@pytest.mark.usefixtures("without_time_budget")
def test_fewer_successes_only_delay_it(shadow: Shadow, unreliable: Unreliable) -> None:
    """A shadow that fails at every fourth request is disabled in the end."""
    ask_in_turn(shadow, unreliable, 2 * MAX_STRIKES, n_failing=1, n_well=SUCCESSES_PER_FAILURE - 1)
    assert not shadow.is_disabled
    ask_in_turn(shadow, unreliable, 2 * MAX_STRIKES, n_failing=1, n_well=SUCCESSES_PER_FAILURE - 1)
    assert shadow.is_disabled


@pytest.mark.usefixtures("without_time_budget")
def test_one_success_does_not_take_back_all_failures(shadow: Shadow, unreliable: Unreliable) -> None:
    """A shadow that almost always fails is disabled, even if it never fails so often in a row."""
    ask_in_turn(shadow, unreliable, 2, n_failing=MAX_STRIKES - 1, n_well=1)
    assert shadow.is_disabled


@pytest.mark.usefixtures("without_time_budget")
def test_past_successes_are_no_credit(shadow: Shadow, unreliable: Unreliable) -> None:
    """After any number of successes, the same number of failures disables it."""
    ask(shadow, 10 * MAX_STRIKES)
    unreliable.failure = KeyError()
    ask(shadow, MAX_STRIKES - 1)
    assert not shadow.is_disabled
    ask(shadow)
    assert shadow.is_disabled


def test_a_slow_shadow_is_disabled_too(
    shadow: Shadow, unreliable: Unreliable, caplog: pytest.LogCaptureFixture
) -> None:
    """Its scores until then count: they were correct, only late."""
    unreliable.seconds = 0.01
    assert all(isinstance(scored[0], Scored) for scored in ask(shadow, MAX_STRIKES))
    assert shadow.is_disabled
    assert "the last one: too slow" in caplog.text


def test_failures_and_slow_answers_add_up(shadow: Shadow, unreliable: Unreliable) -> None:
    """Neither is a success."""
    unreliable.seconds = 0.01
    ask(shadow, MAX_STRIKES // 2)
    unreliable.failure = KeyError()
    ask(shadow, MAX_STRIKES - MAX_STRIKES // 2)
    assert shadow.is_disabled


def test_a_batch_may_take_longer(shadow: Shadow, unreliable: Unreliable, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a fixed time for each of its requests."""
    monkeypatch.setattr("handler.releases.shadow.SLOW_SECONDS_EACH", 10)
    unreliable.seconds = 0.01
    for _ in range(MAX_STRIKES):
        shadow.scores(BATCH, is_batch=True)
    assert not shadow.is_disabled
