"""`make cost`: its argument and its output."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.cost import main, requests_of
from training.errors import StageError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("typed", "requests"), [("1", 1), ("1000000", 1_000_000), ("1,000,000", 1_000_000), ("1_000_000", 1_000_000)]
)
def test_number_of_requests(typed: str, requests: int) -> None:
    """The number may have separators of thousands."""
    assert requests_of(typed) == requests


@pytest.mark.parametrize("typed", ["", "-1", "abc", "1.5", "1e6", "1,00", " 1", "٣", "1_"])
def test_what_is_no_number_is_refused(typed: str) -> None:
    """The refusal shows what was typed and what is expected."""
    with pytest.raises(StageError) as refused:
        requests_of(typed)
    assert str(refused.value) == (
        f"REQUESTS is {typed!r}; it must be a whole number of requests a month, such as 1000000"
    )


@pytest.mark.parametrize("typed", ["0", "9" * 30])
def test_number_beyond_its_limits_is_refused(typed: str) -> None:
    """A number of 0, or above the limit, is refused."""
    with pytest.raises(StageError, match=f"REQUESTS is {typed}; it must be from 1 to 1,000,000,000,000,000"):
        requests_of(typed)


def test_bad_number_ends_with_one_sentence() -> None:
    """The sentence is on stderr, with exit status 1."""
    command = [sys.executable, "-m", "training.cost", "--requests", "abc"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cost: REQUESTS is 'abc'; it must be a whole number of requests a month, such as 1000000\n"


def test_bill_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By default a million requests are billed for both processors, with both totals and each option once."""
    monkeypatch.setattr(sys, "argv", ["cost"])
    main()
    head, *lines, end = capsys.readouterr().out.splitlines()
    assert head.startswith("USD a month for 1,000,000 requests at 512 MB; us-east-1, prices of ")
    assert lines[0].split() == ["x86_64", "arm64"]
    sums = {line.strip().rsplit(maxsplit=2)[0]: line.split()[-2:] for line in lines if "total" in line}
    assert list(sums) == ["total of the default deployment", "total with every option"]
    assert all(float(arm64) <= float(x86_64) for x86_64, arm64 in sums.values())
    options = [line for line in lines if line.startswith("not in the default deployment, ")]
    assert len(options) == len(set(options)) == 6
    assert "free tiers are left out" in end
