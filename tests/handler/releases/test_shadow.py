"""A second version in the shadow: it may do what it will."""

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


class Moody(Scorer):
    """A scorer that fails, or takes its time, while it is told to."""

    failure: Exception | None = None
    seconds = 0.0
    n_asked = 0

    def score(self, request: BaseModel) -> Scored:
        """As a scorer does."""
        self._sulk()
        return super().score(request)

    def scores(self, requests: Sequence[BaseModel]) -> list[Scored]:
        """As a scorer does."""
        self._sulk()
        return super().scores(requests)

    def _sulk(self) -> None:
        self.n_asked += 1
        sleep(self.seconds)
        if self.failure:
            raise self.failure


@pytest.fixture
def moody(refund: Scorer) -> Moody:
    """A version of refund, in a good mood."""
    return Moody(refund.bundle)


@pytest.fixture
def shadow(moody: Moody) -> Shadow:
    """That version in the shadow."""
    return Shadow(moody)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's pauses are not held against a shadow."""
    monkeypatch.setattr("handler.releases.shadow.SLOW_SECONDS", 60)


def ask(shadow: Shadow, n_times: int = 1) -> list[Sequence[Scored | str]]:
    """What it makes of one request, asked so many times."""
    return [shadow.scores(REQUEST, is_batch=False) for _ in range(n_times)]


def ask_in_turn(shadow: Shadow, moody: Moody, n_times: int, *, n_failing: int, n_well: int) -> None:
    """Have it fail so often and then do well so often, so many times."""
    for _ in range(n_times):
        moody.failure = KeyError()
        ask(shadow, n_failing)
        moody.failure = None
        ask(shadow, n_well)


def test_a_request_is_scored_as_always(shadow: Shadow, refund: Scorer) -> None:
    """Read by the shadow's own contract."""
    assert ask(shadow) == [[refund.score(refund.request_model.model_validate_json(REQUEST))]]


def test_a_batch_is_scored_in_order(shadow: Shadow, refund: Scorer) -> None:
    """Each request as alone."""
    expected = [refund.score(refund.request_model.model_validate(one)) for one in json.loads(BATCH)]
    assert expected[0] != expected[1]
    assert shadow.scores(bytearray(BATCH), is_batch=True) == expected


@pytest.mark.parametrize("failure", [KeyError("a"), MemoryError(), RecursionError("b"), ZeroDivisionError()])
def test_a_failure_is_named_and_goes_no_further(shadow: Shadow, moody: Moody, failure: Exception) -> None:
    """By its kind alone: its text may quote the caller."""
    moody.failure = failure
    assert ask(shadow) == [(type(failure).__name__,)]
    assert shadow.scores(BATCH, is_batch=True) == (type(failure).__name__,)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", REQUEST[:-1] + b', "colour": "red"}', b"\xff"])
def test_a_body_that_its_contract_refuses_is_a_failure(shadow: Shadow, body: bytes) -> None:
    """The other version has answered it."""
    assert shadow.scores(body, is_batch=False) == ("ValidationError",)


@pytest.mark.usefixtures("unhurried")
def test_a_shadow_is_dropped_after_so_many_failures(shadow: Shadow, moody: Moody) -> None:
    """And not before."""
    moody.failure = KeyError()
    ask(shadow, MAX_STRIKES - 1)
    assert not shadow.is_disabled
    assert ask(shadow) == [("KeyError",)]
    assert shadow.is_disabled


def test_a_dropped_shadow_is_asked_no_more(shadow: Shadow, moody: Moody) -> None:
    """Even once its mood is better."""
    moody.failure = KeyError()
    ask(shadow, MAX_STRIKES)
    moody.failure = None
    assert ask(shadow, 3) == [(), (), ()]
    assert moody.n_asked == MAX_STRIKES


def test_that_it_is_dropped_is_told_once(shadow: Shadow, moody: Moody, caplog: pytest.LogCaptureFixture) -> None:
    """With the version and the last reason."""
    moody.failure = KeyError("what the caller sent")
    ask(shadow, MAX_STRIKES + 10)
    reason = "is disabled after too many failures or slow answers; the last one: KeyError"
    assert caplog.messages == [f"refund: the shadow {moody.version} {reason}"]


EASED = round(1 / STRIKES_PER_SUCCESS)
"""So many successes make up for one failure."""


@pytest.mark.usefixtures("unhurried")
def test_successes_make_up_for_failures(shadow: Shadow, moody: Moody) -> None:
    """Four for one: one that fails at every fifth request is scored on and on."""
    ask_in_turn(shadow, moody, 10 * MAX_STRIKES, n_failing=1, n_well=EASED)
    assert not shadow.is_disabled


@pytest.mark.usefixtures("unhurried")
def test_fewer_successes_only_put_it_off(shadow: Shadow, moody: Moody) -> None:
    """One that fails at every fourth request is dropped in the end."""
    ask_in_turn(shadow, moody, 2 * MAX_STRIKES, n_failing=1, n_well=EASED - 1)
    assert not shadow.is_disabled
    ask_in_turn(shadow, moody, 2 * MAX_STRIKES, n_failing=1, n_well=EASED - 1)
    assert shadow.is_disabled


@pytest.mark.usefixtures("unhurried")
def test_one_success_does_not_restore_its_patience(shadow: Shadow, moody: Moody) -> None:
    """A shadow that almost always fails is dropped, however rarely it fails so often in a row."""
    ask_in_turn(shadow, moody, 2, n_failing=MAX_STRIKES - 1, n_well=1)
    assert shadow.is_disabled


@pytest.mark.usefixtures("unhurried")
def test_a_good_past_is_no_credit(shadow: Shadow, moody: Moody) -> None:
    """After any number of successes as many failures are too many."""
    ask(shadow, 10 * MAX_STRIKES)
    moody.failure = KeyError()
    ask(shadow, MAX_STRIKES - 1)
    assert not shadow.is_disabled
    ask(shadow)
    assert shadow.is_disabled


def test_a_slow_shadow_is_dropped_too(shadow: Shadow, moody: Moody, caplog: pytest.LogCaptureFixture) -> None:
    """What it found until then is kept: it was right, only late."""
    moody.seconds = 0.01
    assert all(isinstance(found[0], Scored) for found in ask(shadow, MAX_STRIKES))
    assert shadow.is_disabled
    assert "the last one: too slow" in caplog.text


def test_failures_and_dawdling_add_up(shadow: Shadow, moody: Moody) -> None:
    """Either is no success."""
    moody.seconds = 0.01
    ask(shadow, MAX_STRIKES // 2)
    moody.failure = KeyError()
    ask(shadow, MAX_STRIKES - MAX_STRIKES // 2)
    assert shadow.is_disabled


def test_a_batch_may_take_longer(shadow: Shadow, moody: Moody, monkeypatch: pytest.MonkeyPatch) -> None:
    """By so much for each of its requests."""
    monkeypatch.setattr("handler.releases.shadow.SLOW_SECONDS_EACH", 10)
    moody.seconds = 0.01
    for _ in range(MAX_STRIKES):
        shadow.scores(BATCH, is_batch=True)
    assert not shadow.is_disabled
