"""Versions come and go, some of them damaged, while requests are answered; `make swaps` does it for longer."""

from typing import Any

import pytest

from benchmarks.releases import swaps

REQUESTS = swaps.SIZES["seconds"][1] * swaps.SIZES["rate"][1]

pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What the smallest run of `make swaps` measures."""
    return swaps.main(["--smallest"])


def test_no_request_under_uvicorn_is_affected_by_a_swap(report: dict[str, Any]) -> None:
    """Each is answered wholly by the version it names; the damaged are refused."""
    part = report["uvicorn"]
    assert part["right"] == part["answers"] == REQUESTS
    assert part["versions that answered"] >= 6
    assert part["moves seen"] >= 10
    assert part["refused"] >= 1


def test_no_invocation_of_lambda_is_affected_by_a_swap(report: dict[str, Any]) -> None:
    """The same through the handler, which looks at the store beside an invocation."""
    part = report["lambda"]
    assert part["right"] == part["answers"] > 0
    assert part["versions that answered"] >= 6
    assert part["moves seen"] >= 10
