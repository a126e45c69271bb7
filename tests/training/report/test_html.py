"""The HTML page: complete, self-contained, and safe to open."""

import re

import pytest

from tests.training.report.pages import parsed, pictures_of, require_whole_page
from training.report.card_figures import pictures
from training.report.card_reports import Reports
from training.report.html import page
from training.report.model_card import model_card


@pytest.fixture(scope="module")
def content(reports: Reports) -> str:
    """The page of a model card with all its figures."""
    return page("Model card: <mini>", model_card(reports).sections, pictures(reports))


def test_page_runs_nothing_and_refers_to_nothing_else(content: str) -> None:
    """The page has no script, and refers only to its own parts."""
    require_whole_page(content, sections=12, pictures=8)
    root = parsed(content)
    for element in root.iter():
        assert not element.tag.endswith("image")
        assert "src" not in element.attrib
        assert element.get("href", "#").startswith("#")
        assert not any(key.startswith("on") for key in element.attrib)
    assert set(re.findall(r"url\((.)", content)) == {"#"}
    assert "@import" not in content
    assert root.findtext("head/title") == "Model card: <mini>"


def test_page_has_every_picture_once(content: str) -> None:
    """There are eight pictures, each with a caption and a description, and all ids are unique."""
    root = parsed(content)
    drawn = pictures_of(root)
    assert len(drawn) == len(list(root.iter("figcaption"))) == 8
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    for picture in drawn:
        assert set(picture.attrib["aria-labelledby"].split()) <= set(ids)
