"""The shadow: scored like the serving version, without influence on it, disabled if it fails or is slow too often."""

import json
from collections.abc import Sequence
from time import sleep

import pytest
from pydantic import BaseModel

from handler.releases.shadow import MAX_STRIKES, STRIKES_PER_SUCCESS, Shadow
from handler.scoring.scorer import Scored, Scorer

# No value is missing: vectors with NaN would not compare equal.
REQUEST = b'{"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 3, "item": "Pad Thai with tofu"}'
BATCH = b"[" + REQUEST + b"," + REQUEST.replace(b"45", b"900") + b"]"


class Unreliable(Scorer):
    """A scorer that fails with `failure`, if it is set, and takes `seconds`."""

    failure: Exception | None = None
    seconds = 0.0
    n_calls = 0

    def score(self, request: BaseModel) -> Scored:
        """Misbehave, else score as usual."""
        self._misbehave()
        return super().score(request)

    def scores(self, requests: Sequence[BaseModel]) -> list[Scored]:
        """Misbehave, else score as usual."""
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
    """The shadow with that version."""
    return Shadow(unreliable)


@pytest.fixture
def without_time_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a busy machine do not count as slow answers."""
    monkeypatch.setattr("handler.releases.shadow.SLOW_SECONDS", 60)


def ask(shadow: Shadow, n_times: int = 1) -> list[Sequence[Scored | str]]:
    """The shadow's scores of the same request, scored `n_times` times."""
    return [shadow.scores(REQUEST, is_batch=False) for _ in range(n_times)]


def test_requests_are_scored_as_by_the_scorer(shadow: Shadow, refund: Scorer) -> None:
    """They are parsed by the shadow's own contract; a batch keeps its order."""
    requests = [refund.request_model.model_validate(request) for request in json.loads(BATCH)]
    expected = [refund.score(request) for request in requests]
    assert expected[0] != expected[1]
    assert ask(shadow) == [expected[:1]]
    assert shadow.scores(bytearray(BATCH), is_batch=True) == expected


@pytest.mark.parametrize("failure", [KeyError("a"), MemoryError(), RecursionError("b"), ZeroDivisionError()])
def test_a_failure_is_named_and_not_raised(shadow: Shadow, unreliable: Unreliable, failure: Exception) -> None:
    """Only its class is named, because its message may quote the caller."""
    unreliable.failure = failure
    assert ask(shadow) == [(type(failure).__name__,)]
    assert shadow.scores(BATCH, is_batch=True) == (type(failure).__name__,)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", REQUEST[:-1] + b', "colour": "red"}', b"\xff"])
def test_a_body_that_breaks_its_contract_is_a_failure(shadow: Shadow, body: bytes) -> None:
    """It counts as a failure even if the serving version has answered."""
    assert shadow.scores(body, is_batch=False) == ("ValidationError",)


@pytest.mark.usefixtures("without_time_budget")
def test_a_shadow_is_disabled_after_too_many_failures(
    shadow: Shadow, unreliable: Unreliable, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it scores nothing, even if it would succeed, and the log says so once, with the last reason."""
    unreliable.failure = KeyError("what the caller sent")
    ask(shadow, MAX_STRIKES - 1)
    assert not shadow.is_disabled
    assert ask(shadow) == [("KeyError",)]
    assert shadow.is_disabled
    unreliable.failure = None
    assert ask(shadow, 10) == [()] * 10
    assert unreliable.n_calls == MAX_STRIKES
    reason = "is disabled after too many failures or slow answers; the last one: KeyError"
    assert caplog.messages == [f"refund: the shadow {unreliable.version} {reason}"]


SUCCESSES_PER_FAILURE = round(1 / STRIKES_PER_SUCCESS)
"""The number of successes that take back one failure."""


@pytest.mark.usefixtures("without_time_budget")
@pytest.mark.parametrize(
    ("n_times", "n_failing", "n_well", "is_disabled"),
    [
        (10 * MAX_STRIKES, 1, SUCCESSES_PER_FAILURE, False),
        (2 * MAX_STRIKES, 1, SUCCESSES_PER_FAILURE - 1, False),
        (4 * MAX_STRIKES, 1, SUCCESSES_PER_FAILURE - 1, True),
        (2, MAX_STRIKES - 1, 1, True),
    ],
    ids=["every fifth", "every fourth, at first", "every fourth, in the end", "nearly always"],
)
def test_enough_successes_make_up_for_failures(
    unreliable: Unreliable, n_times: int, n_failing: int, n_well: int, *, is_disabled: bool
) -> None:
    """Four successes make up for one failure; fewer only delay the end."""
    shadow = Shadow(unreliable)
    for _ in range(n_times):
        unreliable.failure = KeyError()
        ask(shadow, n_failing)
        unreliable.failure = None
        ask(shadow, n_well)
    assert shadow.is_disabled is is_disabled


@pytest.mark.usefixtures("without_time_budget")
def test_past_successes_do_not_count(shadow: Shadow, unreliable: Unreliable) -> None:
    """After any number of successes, the same number of failures disables it."""
    ask(shadow, 10 * MAX_STRIKES)
    unreliable.failure = KeyError()
    ask(shadow, MAX_STRIKES - 1)
    assert not shadow.is_disabled
    ask(shadow)
    assert shadow.is_disabled


@pytest.mark.parametrize("n_failing", [0, MAX_STRIKES // 2])
def test_a_slow_shadow_is_disabled_too(
    shadow: Shadow, unreliable: Unreliable, caplog: pytest.LogCaptureFixture, n_failing: int
) -> None:
    """Failures and slow answers add up. Its scores until then count: they were right, only late."""
    unreliable.failure = KeyError()
    ask(shadow, n_failing)
    unreliable.failure, unreliable.seconds = None, 0.01
    assert all(isinstance(scored[0], Scored) for scored in ask(shadow, MAX_STRIKES - n_failing))
    assert shadow.is_disabled
    assert "the last one: too slow" in caplog.text


def test_a_batch_may_take_longer(shadow: Shadow, unreliable: Unreliable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch's limit grows by a fixed time for each of its requests."""
    monkeypatch.setattr("handler.releases.shadow.SLOW_SECONDS_EACH", 10)
    unreliable.seconds = 0.01
    for _ in range(MAX_STRIKES):
        shadow.scores(BATCH, is_batch=True)
    assert not shadow.is_disabled
