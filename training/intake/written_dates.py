"""Dates as people and programs write them in text, read as timestamps."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from handler.scoring.fields import SECONDS_A_DAY
from training.data.times import iso_dates
from training.errors import DataError
from training.intake.numbers import normalised_texts

# The first letters of the months in English, German, French, Spanish, Italian, Portuguese, Dutch,
# Swedish, Hungarian and Polish, without accents.
MONTH_LETTERS = (
    "jan ene gen sty",
    "feb fev",
    "mar maa mrt",
    "apr abr avr kwi",
    "may mai mag mei maj",
    "jun juin giu cze",
    "jul juil lug lip",
    "aug ago aou sie",
    "sep set sze wrz",
    "oct okt out ott paz",
    "nov lis",
    "dec dez dic gru",
)
MONTHS = {letters: number for number, row in enumerate(MONTH_LETTERS, start=1) for letters in row.split()}
# The first letters of the weekdays, in the same languages.
_WEEKDAYS = "mon tue wed thu fri sat sun die mit don fre sam son lun mar mer jeu ven dim mie jue vie sab dom gio"
WEEKDAYS = frozenset(_WEEKDAYS.split())
# Hours east of Greenwich of the time zones that e-mail (RFC 2822), Java and European systems write by name.
ZONE_HOURS = {"": 0, "Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "CET": 1, "MEZ": 1, "WEST": 1, "CEST": 2, "MESZ": 2} | {
    zone: hours for hours, zone in enumerate(("PST", "MST", "CST", "EST"), start=-8)
}
ZONE_HOURS |= {f"{zone[0]}DT": ZONE_HOURS[zone] + 1 for zone in ("PST", "MST", "CST", "EST")} | {"EET": 2, "EEST": 3}
# If at least SURE_DATES dates show that the day (or the month) comes first, up to this share of dates in the other
# order are slips of the pen. More would come from another source, and as many again would be misread unnoticed.
STRAY_DATES, SURE_DATES = 0.001, 100
# Two-digit years from here on belong to the twentieth century (POSIX).
CENTURY_FROM = 69
MONTHS_A_YEAR, DAYS_A_MONTH = 12, 31

_CLOCK = (
    r"(?P<hour>\d{1,2})(?:[:.hH](?P<minute>\d{2}))?(?:[:.m](?P<second>\d{2}))?(?:[.,:](?P<fraction>\d{1,9}))?"
    r"s?\s*(?P<half>[AaPp]\.?\s?[Mm]\.?)?"
)
_COMPACT_CLOCK = r"(?P<hour>\d{2}):?(?P<minute>\d{2}):?(?P<second>\d{2})?(?:[.,]?(?P<fraction>\d{1,9}))?"
_ZONE = r"(?P<zone>[A-Z]{1,4})?\s*(?P<offset>[+\-]\d{1,2}(?::?\d{2})?)?\s*(?:[\[(].*)?"
# What may follow a date: a time of day with its zone.
_REST = rf"(?:[\sT,:_\-]+(?:(?:at|um|às|à)\s+)?{_CLOCK}\s*{_ZONE})?$"
_WEEKDAY, _NAME = r"(?:\pL{2,10}\.?,?\s+)?", r"(?P<name>\pL{3,10})\.?"
_GAP, _OF, _BETWEEN = r"[\s./\-]*", r"(?:(?:de|del|of)\s+)?", r"\s*[./\-\s]\s*"
_YEAR, _MONTH, _DAY = r"(?P<year>\d{4})", r"(?P<month>\d{1,2})", r"(?P<day>\d{1,2})"
_ISO = r"^\s*\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:$|[\sT])"
_YEAR_LAST = (
    rf"^{_WEEKDAY}(?P<left>\d{{1,2}}){_BETWEEN}(?P<middle>\d{{1,2}}){_BETWEEN}(?P<right>\d{{4}}|\d{{2}})\.?{_REST}"
)
_LAYOUTS = (
    rf"^{_YEAR}{_BETWEEN}{_MONTH}{_BETWEEN}{_DAY}\.?{_REST}",
    rf"^(?P<year>\d{{4}})(?P<month>\d{{2}})(?P<day>\d{{2}})(?:[T\s_:\-]*{_COMPACT_CLOCK}\s*{_ZONE})?$",
    rf"^{_WEEKDAY}{_DAY}(?:st|nd|rd|th|er)?{_GAP}{_OF}{_NAME}{_GAP},?\s*{_OF}'?(?P<year>\d{{4}}|\d{{2}}){_REST}",
    rf"^{_WEEKDAY}{_NAME}{_GAP}{_DAY}(?:st|nd|rd|th)?,?[\s\-/,]+{_YEAR}{_REST}",
    rf"^{_WEEKDAY}{_NAME}\s+{_DAY}\s+{_CLOCK}\s*{_ZONE}\s+{_YEAR}$",
    rf"^{_YEAR}{_GAP}{_NAME}{_GAP}{_DAY}{_REST}",
    # Months without a day.
    rf"^{_NAME}[\s\-/]+{_YEAR}$",
    rf"^{_MONTH}[./\-]{_YEAR}$",
    rf"^{_YEAR}[./\-]{_MONTH}$",
)
_TIME_OF_DAY = r"^\s*T?\d{1,2}[:.hH]\d{2}(?:[:.m]\d{2}(?:[.,:]\d+)?)?s?\s*(?:[AaPp]\.?\s?[Mm]\.?)?\s*$"


@dataclass(frozen=True)
class Parts:
    """The parts of dates, by name: year, month, name (of the month), day, hour, ..., zone, offset."""

    index: pd.Index
    texts: dict[str, pa.Array]
    """Texts, "" where a date lacks the part."""

    def named(self, names: dict[str, str]) -> "Parts":
        """The same parts under other names."""
        return Parts(self.index, {names.get(name, name): texts for name, texts in self.texts.items()})

    def numbers(self, name: str, *, absent: int = 0) -> np.ndarray:
        """A part as whole numbers; `absent` where a date lacks it."""
        if name not in self.texts:
            return np.full(len(self.index), absent)
        texts = pc.if_else(pc.equal(self.texts[name], ""), str(absent), self.texts[name])
        return np.asarray(pc.cast(texts, pa.int64()))

    def mapped(self, name: str, number: Callable[[str], float]) -> np.ndarray:
        """A part as float64, by a function of its text that is called once for each distinct text."""
        if name not in self.texts:
            return np.full(len(self.index), number(""), dtype=np.float64)
        encoded = self.texts[name].dictionary_encode()
        numbers = np.array([number(text) for text in encoded.dictionary.to_pylist()], dtype=np.float64)
        return numbers[np.asarray(encoded.indices)]


def read_dates(texts: pd.Series, column: str) -> tuple[pd.Series, list[str]]:
    """The dates written in texts, in UTC, NaT where a text is not a date from 1900 to 2100; and notices for the user.

    Whether the day or the month comes first is decided by all texts together. Raises DataError, with both counts, if
    some can only have the day first and others only the month, a few slips aside.
    """
    dates = iso_dates(texts.where(_matches(texts, _ISO))).astype("datetime64[us, UTC]")
    rest = texts[dates.isna() & texts.notna()]
    if rest.empty:
        return dates, []
    # No-break spaces and typographic minus signs are only typesetting.
    cells = pc.utf8_trim_whitespace(normalised_texts(_strings(rest)))
    rest = pd.Series(pc.replace_substring(cells, "\N{MINUS SIGN}", "-"), rest.index, dtype="str")
    parts, notices = _day_and_month(_parts(rest, _YEAR_LAST), texts, column)
    dates = dates.fillna(_assembled(parts))
    for layout in _LAYOUTS:
        rest = rest[dates.loc[rest.index].isna()]
        if rest.empty:
            break
        dates = dates.fillna(_assembled(_parts(rest, layout)))
    return dates, notices


def are_times_of_day(texts: pd.Series) -> pd.Series:
    """Which texts are a time of day without a date, such as 14:05 or 2:05 PM."""
    return _matches(texts, _TIME_OF_DAY)


def are_calendar_names(texts: pd.Series) -> pd.Series:
    """Which texts are the name of a month or of a weekday, without a number."""
    names = texts.where(_matches(texts, r"^\s*\pL{2,10}\.?\s*$"))
    return names.map({name: _is_calendar_name(name) for name in names.dropna().unique()}).eq(other=True)


def _matches(texts: pd.Series, pattern: str) -> pd.Series:
    matched = pc.match_substring_regex(_strings(texts), pattern)
    return pd.Series(pc.fill_null(matched, fill_value=False).to_numpy(zero_copy_only=False), texts.index)


def _strings(texts: pd.Series) -> pa.Array:
    strings = pa.array(texts, pa.large_string(), from_pandas=True)
    return strings.combine_chunks() if isinstance(strings, pa.ChunkedArray) else strings


def _parts(texts: pd.Series, layout: str) -> Parts:
    """The parts of the texts that a layout fits."""
    matched = pc.extract_regex(_strings(texts), layout)
    is_fitting = pc.is_valid(matched)
    fitting = matched.filter(is_fitting)
    values = dict(zip((part.name for part in fitting.type), fitting.flatten(), strict=True))
    return Parts(texts.index[is_fitting.to_numpy(zero_copy_only=False)], values)


def _day_and_month(parts: Parts, texts: pd.Series, column: str) -> tuple[Parts, list[str]]:
    """The parts of dates such as 05/02/2024 with their day and month, and notices of how they were told apart."""
    names = ("left", "middle", "right")
    if parts.index.empty:
        return parts, []
    left, middle, right = (pd.Series(parts.numbers(name), parts.index) for name in names)
    if not pc.any(pc.equal(pc.utf8_length(parts.texts["right"]), 4)).as_py() and _is_year(left, middle, right):
        notice = f"{column}: read with the year first, as in {texts[parts.index[0]]}"
        return parts.named(dict(zip(names, ("year", "month", "day"), strict=True))), [notice]
    is_day, is_month = (
        larger.between(MONTHS_A_YEAR + 1, DAYS_A_MONTH) & (smaller <= MONTHS_A_YEAR)
        for larger, smaller in ((left, middle), (middle, left))
    )
    decided = {"day": texts[parts.index[is_day]], "month": texts[parts.index[is_month]]}
    first, other = sorted(decided, key=lambda part: len(decided[part]), reverse=True)
    if decided[first].empty:
        # No date decides it; dates with dots have the day first.
        first = "day" if texts[parts.index].str.contains(".", regex=False).any() else "month"
    notices = _order_notices(decided, first, other, texts[parts.index[0]], column)
    order = ("day", "month") if first == "day" else ("month", "day")
    return parts.named(dict(zip(names, (*order, "year"), strict=True))), notices


def _order_notices(decided: dict[str, pd.Series], first: str, other: str, shown: str, column: str) -> list[str]:
    """What was decided about the order; raises DataError if the file has both orders."""
    n_first, n_other = len(decided[first]), len(decided[other])
    if not n_first:
        return [f"{column}: read with the {first} first, although no row of the file decides it, as in {shown}"]
    notices = [f"{column}: read with the {first} first, as in {decided[first].iloc[0]}"]
    if not n_other:
        return notices
    if n_first < SURE_DATES or n_other > max(1, n_first * STRAY_DATES):
        counts = " and ".join(
            f"{len(decided[part]):,} rows that can only have the {part} first, such as {decided[part].iloc[0]}"
            for part in ("day", "month")
        )
        raise DataError(f"TIME is {column}, which has {counts}: write all dates in one order, preferably as 2025-01-31")
    have = "row has" if n_other == 1 else "rows have"
    return [*notices, f"{column}: {n_other:,} {have} the {other} first, such as {decided[other].iloc[0]}: not a time"]


def _is_year(left: pd.Series, middle: pd.Series, right: pd.Series) -> bool:
    """Whether the left of three two-digit numbers is the year.

    The others must be a month and a day, and the left must exceed 31 somewhere or vary less than the right.
    """
    return bool(
        (middle.between(1, MONTHS_A_YEAR) & right.between(1, DAYS_A_MONTH)).all()
        and ((left > DAYS_A_MONTH).any() or left.nunique() < right.nunique())
    )


def _assembled(parts: Parts) -> pd.Series:
    """The parts as timestamps in UTC, NaT where there is no such date."""
    if parts.index.empty:
        return pd.Series(pd.NaT, parts.index, dtype="datetime64[us, UTC]")
    hour, minute, second = (parts.numbers(name) for name in ("hour", "minute", "second"))
    year = parts.mapped("year", _year).astype(np.int64)
    day, month = parts.numbers("day", absent=1), parts.numbers("month", absent=1)
    month = parts.mapped("name", _month).astype(np.int64) if "name" in parts.texts else month
    half = parts.mapped("half", lambda text: {"a": 0, "p": 12}.get(text[:1].casefold(), np.nan))
    hour = np.where(np.isnan(half), hour, hour % 12 + np.nan_to_num(half)).astype(np.int64)
    fraction = parts.mapped("fraction", lambda text: float(f"0.{text}0"))
    first_day = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
    days = (first_day + np.timedelta64(1, "M")).astype("datetime64[D]") - first_day.astype("datetime64[D]")
    is_date = (month >= 1) & (month <= MONTHS_A_YEAR) & (day >= 1) & (day <= days.astype(np.int64))
    clock = hour * 3600 + minute * 60 + second
    east = parts.mapped("zone", lambda name: ZONE_HOURS.get(name, np.nan)) * 3600 + parts.mapped("offset", _offset)
    is_time = (clock <= SECONDS_A_DAY) & (minute < 60) & (second <= 60) & ~np.isnan(east)  # noqa: PLR2004
    micros = ((day - 1) * SECONDS_A_DAY + clock - np.nan_to_num(east)) * 1e6 + np.round(fraction * 1e6)
    dates = first_day.astype("datetime64[us]") + micros.astype(np.int64).astype("timedelta64[us]")
    return iso_dates(pd.Series(np.where(is_date & is_time, dates, np.datetime64("NaT", "us")), parts.index))


def _year(text: str) -> int:
    """A year of four or of two digits."""
    century = 0 if len(text) > 2 else 2000 if int(text) < CENTURY_FROM else 1900  # noqa: PLR2004 - two digits
    return century + int(text)


def _offset(text: str) -> int:
    """The seconds of an offset such as +0530, +05:30 or -5."""
    digits = text[1:].replace(":", "")
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")  # noqa: PLR2004 - hours alone
    return (-1 if text.startswith("-") else 1) * (int(hours or 0) * 3600 + int(minutes) * 60)


def _month(name: str) -> int:
    """The number of a month by its name, 0 for any other word."""
    plain = _plain(name)
    return next((MONTHS[plain[:length]] for length in (4, 3) if plain[:length] in MONTHS), 0)


def _is_calendar_name(name: str) -> bool:
    return bool(_month(name.strip())) or _plain(name.strip())[:3] in WEEKDAYS


def _plain(name: str) -> str:
    """A word in lower case without accents."""
    return unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
