"""Sections of Markdown and figures -> one HTML page, the same bytes on every machine."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from xml.etree import ElementTree as ET

from markdown_it import MarkdownIt
from matplotlib import style
from matplotlib.figure import Figure

from training.report.axes import BLUE, GREY, INK, ORANGE

# The figures' colours become variables of the page, so that dark mode changes them too.
VARIABLES = {INK: "var(--ink)", GREY: "var(--grey)", BLUE: "var(--blue)", ORANGE: "var(--orange)"}
LOOK: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "card",
    "path.simplify": False,
    "text.parse_math": False,
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
NUMBER = re.compile(r"-?\d+\.\d+")
REFERENCE = re.compile(r"#(\w+)")
FONT = re.compile(r"font-family: [^;]*;? ?")
CSS = """\
:root{--ink:#1b1b1b;--paper:#fff;--grey:#767676;--faint:#e4e4e4;--blue:#1f6fb2;--orange:#b34a10}
@media screen and (prefers-color-scheme:dark){
:root{--ink:#e6e6e6;--paper:#161616;--grey:#9b9b9b;--faint:#3a3a3a;--blue:#6db3ee;--orange:#f0985e}}
body{color:var(--ink);background:var(--paper);font:14px/1.4 system-ui,sans-serif}
main{max-width:66rem;margin:auto;padding:1rem}
h1{font-size:1.5rem;margin:0}
h2{font-size:1.05rem;margin:1.2rem 0 .3rem;border-bottom:1px solid var(--faint)}
p{margin:.4rem 0;max-width:56rem}
table{display:block;overflow-x:auto;border-collapse:collapse;font-size:.85em;margin:.5rem 0}
th,td{padding:.1rem .6rem .1rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--faint)}
code{font-size:.95em;overflow-wrap:anywhere}
.figures{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:flex-end}
figure{margin:.5rem 0;max-width:100%}
figcaption{font-size:.85em;color:var(--grey)}
svg{max-width:100%;height:auto}
svg *{stroke-linejoin:round;stroke-linecap:butt}
@media print{@page{margin:12mm}body{font-size:8.5pt}main{max-width:none;padding:0}table{display:table}
tr,figure{break-inside:avoid}h2{break-after:avoid}}
"""


@dataclass(frozen=True)
class Section:
    """One part of a page: its Markdown, and the names of the figures at its end."""

    text: str
    figures: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A figure not yet drawn: its caption, a description for screen readers, and the function that draws it."""

    caption: str
    description: str
    draw: Callable[[], Figure]


def page(title: str, sections: Sequence[Section], pictures: dict[str, Picture]) -> str:
    """The whole page: well-formed XML as well as HTML, self-contained and without scripts.

    A figure that has no picture is left out.
    """
    # Raw HTML in the Markdown is shown as text.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    parts = []
    for section in sections:
        drawn = "".join(_figure(name, pictures[name]) for name in section.figures if name in pictures)
        figures = f'<div class="figures">\n{drawn}</div>\n' if drawn else ""
        parts.append(f"<section>\n{markdown.render(section.text)}{figures}</section>\n")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1" />\n'
        f"<title>{escape(title)}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n{''.join(parts)}</main>\n"
        "</body>\n</html>\n"
    )


def _figure(name: str, picture: Picture) -> str:
    drawn = svg(name, picture)
    return f"<figure>\n{drawn}\n<figcaption>{escape(picture.caption)}</figcaption>\n</figure>\n"


def svg(name: str, picture: Picture) -> str:
    """The picture as an SVG element for a page; its ids start with its name."""
    buffer = io.StringIO()
    # A user's own matplotlib settings must not change the picture.
    with style.context(["default", LOOK]):
        picture.draw().savefig(buffer, format="svg", metadata={"Date": None})
    return _normalised(ET.fromstring(buffer.getvalue()), name, picture)  # noqa: S314 - just written by matplotlib


def _normalised(root: ET.Element, name: str, picture: Picture) -> str:
    """Matplotlib's SVG without what differs between machines, with short ids, a title and a description."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{SVG}metadata", f"{SVG}style"}:
                parent.remove(child)
    values = (value for element in root.iter() for value in element.attrib.values())
    used = {reference for value in values for reference in REFERENCE.findall(value)}
    kept = [element.attrib["id"] for element in root.iter() if element.get("id") in used]
    ids = {old: f"{name}-{number}" for number, old in enumerate(kept, start=1)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = dict(_attributes(element.attrib, ids))
        element.text = element.text if element.text and element.text.strip() else None
        element.tail = None
    texts = {"title": picture.caption, "desc": picture.description}
    labels = " ".join(f"{name}-{tag}" for tag in texts)
    root.attrib |= {"xmlns": SVG.strip("{}"), "role": "img", "aria-labelledby": labels}
    for place, (tag, text) in enumerate(texts.items()):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(place, element)
    return ET.tostring(root, encoding="unicode")


def _attributes(attributes: dict[str, str], ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    """An element's attributes: ids shortened or dropped, colours as variables, two digits after the point."""
    for key, value in attributes.items():
        if key == "id":
            if value in ids:
                yield key, ids[value]
            continue
        if key == "version" or value.startswith("rotate(-0 "):
            continue
        text = REFERENCE.sub(lambda match: f"#{ids[match[1]]}" if match[1] in ids else match[0], value)
        for color, variable in VARIABLES.items():
            text = text.replace(color, variable)
        # The last digits differ between processors.
        text = NUMBER.sub(lambda match: _two_digits(match[0]), text)
        yield key.replace(LINK, "href"), " ".join(FONT.sub("", text).split())


def _two_digits(number: str) -> str:
    shortened = f"{float(number):.2f}".rstrip("0").rstrip(".")
    return "0" if shortened == "-0" else shortened
