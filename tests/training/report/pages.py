"""Helpers for tests of HTML pages: reading a page as XML, its words, and what it must not contain."""

import re
from xml.etree import ElementTree as ET

HOSTILE = "<script>alert('1')</script> | `a` [b](javascript:c) & **d** <img src=x>"


def parsed(content: str) -> ET.Element:
    """The root element of a page or picture; raises an error if it is not well-formed."""
    return ET.fromstring(content)  # noqa: S314 - our own text


def pictures_of(root: ET.Element) -> list[ET.Element]:
    """The pictures of a page."""
    return [element for element in root.iter() if element.tag.endswith("svg")]


def words(page: str) -> str:
    """The text of the page outside its pictures."""
    root = parsed(page)
    for parent in list(root.iter()):
        for child in pictures_of(root):
            if child in list(parent):
                parent.remove(child)
    return " ".join("".join(root.itertext()).split())


def require_whole_page(page: str, *, sections: int, pictures: int | None = None) -> None:
    """Check that a page is XML with one heading and these sections, loads nothing from elsewhere and runs nothing.

    Each picture has a title and a description for readers who cannot see it.
    """
    root = parsed(page)
    assert len(list(root.iter("h1"))) == 1
    assert len(list(root.iter("section"))) == sections
    if pictures is not None:
        assert len(pictures_of(root)) == pictures
    for picture in pictures_of(root):
        assert {"title", "desc"} <= {child.tag.rpartition("}")[2] for child in picture}
    assert set(re.findall(r"https?://[^\"'\s<>)]+", page)) <= {"http://www.w3.org/2000/svg"}
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags.isdisjoint({"script", "img", "link", "iframe", "a", "object"})
