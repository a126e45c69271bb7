"""Versions come and go, some of them damaged, while requests are answered; `make swaps` does it for longer."""

from benchmarks.swaps import in_lambda, under_uvicorn

SECONDS = 6


def test_no_request_under_uvicorn_notices_a_swap() -> None:
    """Each is answered wholly by the version it names; the damaged are refused."""
    found = under_uvicorn(SECONDS)
    assert found["right"] == found["answers"] >= 1_000 * SECONDS
    assert found["versions that answered"] >= 6
    assert found["moves seen"] >= 10
    assert found["refused"] >= 1


def test_no_invocation_of_lambda_notices_a_swap() -> None:
    """The same through the handler, which looks at the store beside an invocation."""
    found = in_lambda(SECONDS)
    assert found["right"] == found["answers"] > 0
    assert found["versions that answered"] >= 6
    assert found["moves seen"] >= 10
