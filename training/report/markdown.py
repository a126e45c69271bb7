"""Markdown from data: text that cannot act as markup, numbers for people to read, tables."""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

MARKUP = re.compile(r"([\\`*_\[\]<>|&~])")
NAME = re.compile(r"[A-Za-z0-9_./-]+")
LONGEST = 60
RULES = {"l": "---", "r": "---:"}


def plain(text: str, *, longest: int = LONGEST) -> str:
    r"""Text from data as Markdown that shows it literally: on one line, cut to `longest` letters, markup escaped.

    >>> print(plain("<b>|\n[a](b)"))
    \<b\>\| \[a\](b)
    """
    return escaped(one_line(text, longest=longest)) or "(empty)"


def one_line(text: str, *, longest: int) -> str:
    r"""Text from data, unescaped, on one line of at most `longest` letters, without what cannot be printed.

    >>> one_line("a\nlong name", longest=8)
    'a long …'
    """
    line = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def escaped(line: str) -> str:
    r"""A line with names in it as Markdown that shows it literally.

    >>> print(escaped("class_weight 1 +- 2"))
    class\_weight 1 +- 2
    """
    return MARKUP.sub(r"\\\1", line)


def code(name: str) -> str:
    """A declared name as a code span; anything else, which could end the span, as plain text."""
    return f"`{name}`" if NAME.fullmatch(name) else plain(name)


def number(value: float) -> str:
    """A number in three significant digits, without an exponent.

    >>> number(0.00796744), number(0.19), number(2705.62), number(0)
    ('0.00797', '0.190', '2,706', '0')
    """
    if value == 0:
        return "0"
    if abs(value) >= 1000:  # noqa: PLR2004 - from here on, the whole number has more than three digits
        return f"{value:,.0f}"
    return f"{Decimal(f'{value:#.3g}'):f}"


def percent(share: float) -> str:
    """A share in per cent.

    >>> percent(0.797704), percent(0.00148142)
    ('79.8 %', '0.148 %')
    """
    return f"{number(100 * share)} %"


def target(share: float) -> str:
    """A declared share in per cent, with the digits of its declaration.

    >>> target(0.9), target(0.001)
    ('90 %', '0.1 %')
    """
    return f"{100 * share:g} %"


def percent_within(share: float, low: float, high: float) -> str:
    """A share in per cent with its interval.

    >>> percent_within(0.859485, 0.824224, 0.892153)
    '85.9 % (82.4 to 89.2)'
    """
    return f"{percent(share)} ({number(100 * low)} to {number(100 * high)})"


def table(alignment: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `alignment` has an l (left) or r (right) per column."""
    lines = [headers, [RULES[side] for side in alignment], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
