"""The monitor's page: well-formed, self-contained, and safe from markup in the data."""

from typing import Any

import pytest

from tests.training.monitored_block import CALM_FEATURE, monitored_block
from tests.training.report.pages import HOSTILE, require_whole_page, words
from training.report.monitor_page import SAYS, monitor_page
from training.report.monitor_report import JudgedBlock, MonitorReport

FEATURE = CALM_FEATURE | {"baseline_missing": 0.05}
FEATURES = {"amount": FEATURE, "country": FEATURE | {"psi": 0.2345}}


def block(**changes: Any) -> JudgedBlock:  # noqa: ANN401 - whatever a block holds
    """A block with changes, as the report has it."""
    measured = {"labelled": 100, "frauds": 40, "recall": 0.75, "recall_interval": [0.6, 0.85], "precision": 0.5}
    usual = {
        "predictions": 12_345,
        "alert_rate": 0.0517,
        "features": FEATURES,
        "estimated": {"recall": 0.871},
        "measured": measured,
    }
    return monitored_block(**usual | changes)


def unknown(**changes: Any) -> JudgedBlock:  # noqa: ANN401 - as above
    """A block without outcomes."""
    measured = dict.fromkeys(("recall", "precision", "average_precision"))
    return block(measured={"labelled": 0, "frauds": 0, **measured}, **changes)


def report(*blocks: JudgedBlock, **changes: Any) -> MonitorReport:  # noqa: ANN401 - as above
    """A report on some blocks."""
    usual: dict[str, Any] = {
        "scorer": "mini",
        "baseline": "0123456789ab",
        "state": "ok",
        "reasons": (),
        "counts": {"predictions": 12_345, "broken lines": 2},
    }
    return MonitorReport(blocks=blocks, **usual | changes)


PAGES = {
    "no block": report(),
    "one block": report(block()),
    "no outcomes": report(unknown(), unknown()),
    "some outcomes": report(unknown(), block(), unknown()),
    "nothing recorded of features": report(block(features={})),
    "many features": report(block(features={f"f{at}": FEATURE for at in range(40)})),
    "features that come and go": report(block(features={}), block(), block(features={})),
    "hostile": report(
        block(reasons=[HOSTILE], verdict="watch", features={HOSTILE: FEATURE}),
        state="watch",
        reasons=(HOSTILE,),
        counts={HOSTILE: 1},
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(name: str) -> None:
    """Any report gives a page that is well-formed, self-contained and reproducible."""
    page = monitor_page(PAGES[name])
    require_whole_page(page, sections=4)
    assert monitor_page(PAGES[name]) == page


@pytest.mark.parametrize("state", SAYS)
def test_page_says_what_to_do(state: str) -> None:
    """The state, the advice and the baseline's version are at the top, followed by the reasons."""
    page = words(monitor_page(report(block(), state=state, reasons=("speed drifts: PSI 0.31, p 0.001",))))
    assert f"mini: {state} {SAYS[state]} Compared with version 0123456789ab. speed drifts: PSI 0.31, p 0.001" in page


def test_notes_follow_the_reasons() -> None:
    """Notes on the state follow its reasons."""
    page = words(monitor_page(report(block(), reasons=("too few.",), notes=("no prediction for 90 days.",))))
    assert "too few. no prediction for 90 days." in page


def test_hostile_text_is_shown() -> None:
    """Text that looks like markup is shown literally: as reason, in a block's line, as feature and as count."""
    page = words(monitor_page(PAGES["hostile"]))
    assert (page.count(HOSTILE), page.count(HOSTILE[:59])) == (2, 4)


def test_block_has_its_line() -> None:
    """Each block has a line, in which unknown figures are called so; two blocks have three pictures."""
    page = monitor_page(report(block(), unknown(**{"from": 1_750_604_800})))
    assert "2025-06-15 ok 12,345 5.17 % 40 75.0 % 87.1 % 50.0 %" in words(page)
    assert "2025-06-22 ok 12,345 5.17 % 0 unknown 87.1 % unknown" in words(page)
    require_whole_page(page, sections=4, pictures=3)


def test_features_of_the_latest_block_are_listed() -> None:
    """The features of the latest block are listed, the largest distance first."""
    later = FEATURES | {"speed": {"psi": 0.1, "p_value": 0.003, "missing": 0.2, "baseline_missing": 0.0}}
    page = words(monitor_page(report(block(features={}), block(features=later))))
    assert "country 0.234 0.5 10.0 % 5.00 % speed 0.100 0.003 20.0 % 0 % amount 0.0100" in page


def test_empty_window_has_counts_and_no_figure() -> None:
    """Without any block the page says so and has no picture; each kind of line is listed with its count."""
    page = monitor_page(report())
    assert "There is no prediction in this window." in page
    assert "<svg" not in page
    assert "lines count predictions 12,345 broken lines 2" in words(page)
