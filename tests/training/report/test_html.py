"""The page: whole, self-contained, and safe to open."""

import re
from xml.etree import ElementTree as ET

import pytest

from training.report.card_figures import pictures
from training.report.html import page
from training.report.model_card import model_card
from training.report.stage_reports import Reports


@pytest.fixture(scope="module")
def content(reports: Reports) -> str:
    """The page of a model card with all its figures."""
    return page("Model card: <mini>", model_card(reports).sections, pictures(reports))


@pytest.fixture(scope="module")
def root(content: str) -> ET.Element:
    """The page as XML, which it must be."""
    return ET.fromstring(content)  # noqa: S314 - our own text


def test_page_runs_nothing_and_refers_to_nothing_else(content: str, root: ET.Element) -> None:
    """There is no script, and no reference to anything but the page's own parts."""
    tags = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
    assert not tags & {"script", "img", "link", "iframe", "object", "image", "a"}
    for element in root.iter():
        assert "src" not in element.attrib
        assert element.get("href", "#").startswith("#")
        assert not any(key.startswith("on") for key in element.attrib)
    assert set(re.findall(r"url\((.)", content)) == {"#"}
    assert "@import" not in content
    assert root.findtext("head/title") == "Model card: <mini>"


def test_page_has_every_picture_once(root: ET.Element) -> None:
    """Seven pictures, each with a caption and a description, no id twice."""
    drawn = [element for element in root.iter() if element.tag.endswith("}svg")]
    assert len(drawn) == len(list(root.iter("figcaption"))) == 7
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    for picture in drawn:
        assert set(picture.attrib["aria-labelledby"].split()) <= set(ids)
