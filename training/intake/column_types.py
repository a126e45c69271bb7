"""The field that suits the values of one column, or the reason why the column is left out."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from math import ceil
from numbers import Number

import numpy as np
import pandas as pd

from handler.scoring.fields import LARGEST_NUMBER, DeclaredField
from handler.scoring.times import END_OF_TIMES
from training.data.column_checks import as_text
from training.data.times import dates_of
from training.errors import DataError, counted
from training.intake.currencies import CODES, currency_of
from training.intake.field_names import last_word_of, words_of
from training.intake.numbers import MOST_TOKENS, NOTHING, NUMERIC_SHARE, ReadNumbers, as_truth, number_text, numbers_of
from training.intake.time_column import STAMPS, TIME_WORDS, timestamps_of
from training.intake.written_dates import are_times_of_day, read_dates

ID_SHARE = 0.9
# The default of a category field's min_rows, and the share of a file's rows, the earliest, that a model learns from.
MIN_ROWS, TRAIN = 20, 0.8
MAX_LEVELS_PER_FIELD = 100
# If a smaller share of the rows has one of the levels that are learned, an id tells a model nothing about most rows.
MIN_LEARNED = 0.5
LONGEST_CATEGORY = 256
# 2000-01-01: larger numbers are timestamps if the column's name has one of TIME_WORDS.
EARLIEST_TIMESTAMP = 946_684_800
# A monotone column with at least this many distinct values is an order of rows, not a measure.
MIN_ORDERED = 100
# With a larger share of texts like 00501, a column holds codes, not numbers.
MAX_LEADING_ZEROS = 0.01
# Whole numbers of nine or more digits are codes, not measures; with fewer rows than MIN_REPEATS for each, they are ids.
SMALLEST_CODE, LARGEST_CODE = 1e8, 1e25
MIN_REPEATS = 10
MOST_SHOWN, LONGEST_SHOWN = 3, 40
WARNING = "WARNING: "
NO_AMOUNTS = "its whole numbers are codes, not amounts"
# Currency codes that are also English or German words, and those that count as currencies in a column's name.
_WORDS = "all top cup pen mop nio cop ron bam mad sos gel sek std"
NO_CURRENCY = frozenset(_WORDS.split())
CURRENCY_WORDS = frozenset(map(str.casefold, CODES)) - NO_CURRENCY - {"try"}
_MONEY = """
    amount amt balance charge cost fee income payment price revenue salary spend spent total value
    betrag preis umsatz saldo summe gebuhr montant prix solde importe monto precio valor importo prezzo preco
    bedrag prijs belopp pris belob kwota cena castka osszeg tutar suma
"""
MONEY_WORDS = CURRENCY_WORDS.union(_MONEY.split())
_MEASURES = """
    age average avg count days flag hour hours items length max mean min minutes month months n num pct percent qty
    quantity rank rate ratio score seconds share std sum transactions velocity year years
"""
MEASURE_WORDS = frozenset(_MEASURES.split())
ID_WORDS = frozenset(
    ("guid", "hash", "id", "idx", "index", "key", "no", "nr", "number", "ref", "reference", "row", "uuid")
)
# Whole numbers in columns with these names stand for somebody or something; a larger one is not more of anything.
_CODES = "bin code fips iin mcc naics plz postal postcode sic zip zipcode"
_ENTITIES = """
    account acct acquirer agent beneficiary branch buyer card cardholder cashier city client cliente compte counterparty
    courier cuenta cust customer device driver employee household issuer karte konto kunde location member merchant
    payee payer person place product ratee rater receiver recipient region seller sender shop source store supplier
    target terminal user vendor
"""
NOT_MONEY_WORDS = MEASURE_WORDS | ID_WORDS | {"bin", "code"}
CODE_WORDS = frozenset(f"{_CODES} {_ENTITIES}".split())
SIDES = frozenset(("dest", "destination", "from", "ori", "orig", "origin", "to"))
# But not if the name also has one of these, as is_new_device and cards_per_user do.
NO_CODE_WORDS = MEASURE_WORDS | {"by", "is", "has", "new", "distinct", "unique", "same", "of", "per"}
# Such as customerid, which does not show where a word ends.
_GLUED_ID = rf"({'|'.join(_ENTITIES.split())})(id|no|nr|num|number)"
# A float above 1e16 as pandas writes it into a CSV.
_LARGE_FLOAT = r"^[+-]?\d+(?:\.\d+)?e\+\d+$"
_DATE_KINDS = {"date", "datetime", "Timestamp"}
_UUID = r"(?:0x)?[0-9a-f]{16,}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
# Names of columns that hold names of people.
_PEOPLE = "firstname lastname fullname surname forename vorname nachname prenom apellido cognome"
PEOPLE_WORDS = frozenset(_PEOPLE.split())
PEOPLE_NAMES = (
    *({word} for word in ("first", "last")),
    *({word, "name"} for word in ("first", "last", "full", "family")),
)
# What to call values that no request can carry.
_OBJECTS = {
    "bytes": "binary data",
    "dict": "nested records",
    "list": "lists",
    "ndarray": "lists",
    "time": "times of day",
    "tuple": "lists",
}
# One number with a few other characters before and after it.
_AMOUNT = r"\D{0,8}\d[\d\s.,']*\D{0,8}"
# Letters right before digits, such as T1020000000.
_LETTERED_CODE = r"\pL+[-_/]?\d+"
# Digits with commas in unusual places, such as 1,23,456.78.
_ODD_NUMBER = r"[+-]?\d{1,3}(?:[., ]\d{2,3})*,\d{2,3}(?:[.,]\d+)?"
# Texts that identify somebody; a model would memorise these.
_PERSONAL = {
    "IP or MAC addresses": r"\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){4,7}",
    "e-mail addresses": r"[^@\s]+@[^@\s]+\.[^@\s]+",
    "IBANs": r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?",
    "phone, card or account numbers": r"[+(]?\d(?:[\s()./-]*\d){7,18}",
}


@dataclass(frozen=True)
class Column:
    """One column: its declared field, None if it is left out; its values in that type; a notice for the user."""

    field: DeclaredField | None
    typed: pd.Series
    notice: str = ""


def infer_column(values: pd.Series, column: str, *, is_text: bool) -> Column:
    """The field that suits a column's values, with these in its type, or the reason why the column is left out."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(values.dtype):
        return _flag(values.astype("boolean"))
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _number(numbers_of(values), values, column)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _dates(values, column)
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        seconds = values.dt.total_seconds()
        return _number(ReadNumbers(seconds), seconds, column)
    return _texts_or_objects(values, column, is_text=is_text)


def _texts_or_objects(values: pd.Series, column: str, *, is_text: bool) -> Column:
    """A column that pandas does not type: texts, or objects of any kind, such as decimals, dates and lists."""
    kinds = {type(value) for value in values.dropna()} if values.dtype == object else {str}
    if kinds == {bool}:
        return _flag(values.astype("boolean"))
    if kinds and all(issubclass(kind, Number) for kind in kinds):
        return _number(ReadNumbers(pd.to_numeric(values).astype(np.float64)), values, column)
    if odd := sorted(kind.__name__ for kind in kinds if not issubclass(kind, str | Number)):
        kind = _OBJECTS.get(odd[0], "values that are neither numbers nor texts")
        return _dates(values, column) if set(odd) <= _DATE_KINDS else Column(None, values, f"left out, it holds {kind}")
    texts = (as_text(values) if values.dtype == object else values).astype("str")
    texts = texts.mask(texts == "")
    if _are_people(texts, words_of(column)):
        return Column(None, texts, f"left out, it holds names of people, such as {texts.dropna().iloc[0]}")
    return _text(texts, column, is_text=is_text)


def _are_people(texts: pd.Series, words: set[str]) -> bool:
    """Whether texts are names of people, by the name of their column and by their letters."""
    if not words & PEOPLE_WORDS and words not in PEOPLE_NAMES:
        return False
    return texts.nunique() >= MIN_ROWS and bool(texts.dropna().str.match(r"[^\d\s]{2}").mean() > NUMERIC_SHARE)


def _flag(truth: pd.Series) -> Column:
    return Column(None, truth, _constant(truth)) if _constant(truth) else Column(DeclaredField(type="flag"), truth)


def _constant(typed: pd.Series) -> str:
    """Why a column carries no information, "" if it does; a single value with gaps is as informative as a flag."""
    if typed.isna().all():
        return "left out, it is empty"
    first = typed.iloc[0]
    shown = number_text(first) if isinstance(first, float) else str(first).lower() if first in (True, False) else first
    return f"left out, all rows have {shown}" if (typed == first).fillna(value=False).all() else ""


def _text(texts: pd.Series, column: str, *, is_text: bool) -> Column:
    """A column of texts as flags, numbers or categories, or the reason why it is left out."""
    present = texts.dropna()
    n_codes = present.str.fullmatch(r"0\d+").mean()
    if n_codes > MAX_LEADING_ZEROS:
        shown = present[present.str.fullmatch(r"0\d+")].iloc[0]
        return _noted(_category(texts), f"its numbers are codes, such as {shown}")
    if not is_text and present.nunique() <= ID_SHARE * len(present):
        return _category(texts)
    read = numbers_of(texts)
    if read.are_numbers:
        return _noted(_number(read, texts, column), *_missing(read), read.notice)
    return _noted(_category(texts), _why_no_number(read, present, column))


def _why_no_number(read: ReadNumbers, present: pd.Series, column: str) -> str:
    """Why texts that look like numbers are not read as such, "" if they do not look like numbers."""
    n_numbers = int(read.numbers.notna().sum())
    shown = read.words.index[0] if len(read.words) else ""
    are_amounts = _is_money(words_of(column)) and not _are_mostly(_LETTERED_CODE, present)
    if are_amounts and _are_mostly(_AMOUNT, present):
        amounts = counted(int(read.words.sum()), "amount")
        return f"{WARNING}{amounts} such as '{shown}' cannot be read as numbers"
    if _are_mostly(_ODD_NUMBER, present):
        return f"values such as '{shown}' cannot be read as numbers"
    if n_numbers * 2 > len(present):
        return f"{n_numbers:,} of {len(present):,} values are numbers, but others are not, such as '{shown}'"
    return ""


def _are_mostly(pattern: str, texts: pd.Series) -> bool:
    """Whether more than half of the texts match."""
    return bool(texts.str.fullmatch(pattern).mean() > 0.5)  # noqa: PLR2004 - half


def _noted(column: Column, *notices: str) -> Column:
    """A column with more notices; the reason why it is left out comes first."""
    ordered = (*notices, column.notice) if column.field else (column.notice, *notices)
    return replace(column, notice="; ".join(filter(None, ordered)))


def _missing(read: ReadNumbers) -> list[str]:
    """Notices of the cells that are not numbers and become missing."""
    is_token = (read.words > 1) & (len(read.words) <= MOST_TOKENS)
    tokens = pd.concat([read.nothing[read.nothing.index.str.strip() != ""], read.words[is_token]])
    strays = read.words[~is_token]
    notices = [f"{_listed(tokens)} a missing number"] if len(tokens) else []
    if len(strays):
        values = counted(int(strays.sum()), "value is not a number and becomes", "values are not numbers and become")
        notices.append(f"{values} missing, such as '{strays.index[0]}'")
    return notices


def _listed(tokens: pd.Series) -> str:
    """Texts with how often each occurs, as the subject of a sentence."""
    shown = ", ".join(f"'{text}' ({counted(int(n), 'time')})" for text, n in tokens.iloc[:MOST_SHOWN].items())
    more = f" and {len(tokens) - MOST_SHOWN} more" if len(tokens) > MOST_SHOWN else ""
    return f"{shown}{more} {'means' if len(tokens) == 1 else 'mean'}"


def _category(texts: pd.Series) -> Column:
    """A column of texts as a flag or a category, or the reason why it is left out."""
    counts = texts.value_counts()
    folded = counts.index.str.strip().str.casefold()
    nothing = counts[folded.isin(NOTHING)]
    if len(nothing) and len(nothing) < len(counts):
        texts = texts.mask(texts.isin(nothing.index))
        return _noted(_category(texts), f"{_listed(nothing)} a missing value")
    if set(folded) <= {"true", "false"}:
        return _flag(as_truth(texts))
    reason = _constant(texts)
    if not reason and _are_dates(counts.index):
        return _dates(texts)
    if reason := reason or _no_category(texts.dropna(), counts):
        return Column(None, texts, reason)
    longest = int(counts.index.str.len().max())
    field = DeclaredField(type="category", max_length=max(64, min(2 * longest, LONGEST_CATEGORY)))
    unknown = counts[folded.isin(("?", "-", "--", "n/a"))]
    notices = [f"'{text}' ({counted(int(n), 'time')}) is a category of its own" for text, n in unknown.items()]
    return Column(field, texts, "; ".join(notices))


def _no_category(present: pd.Series, counts: pd.Series) -> str:
    """Why texts are not a category, "" if they are; `counts` says how often each occurs."""
    distinct = counts.index
    if distinct.str.fullmatch(_UUID, case=False).mean() > NUMERIC_SHARE:
        return f"left out, it is an id, as in {distinct[0]}"
    is_rare = counts[counts * TRAIN >= MIN_ROWS].sum() < (1 - NUMERIC_SHARE) * len(present)
    if is_rare or len(counts) * MIN_REPEATS > len(present):
        for what, pattern in _PERSONAL.items():
            if distinct.str.fullmatch(pattern).mean() > NUMERIC_SHARE:
                return f"left out, it holds {what}, such as {distinct[0]}"
    if is_rare:
        return _why_rare(present, counts)
    longest = int(distinct.str.len().max())
    return f"left out, it is free text of up to {longest:,} characters" if longest > LONGEST_CATEGORY else ""


def _why_rare(present: pd.Series, counts: pd.Series) -> str:
    """Why texts that hardly repeat are left out."""
    if len(counts) > ID_SHARE * len(present):
        return f"left out, {len(counts):,} of {len(present):,} values differ: an id or free text"
    shown = counts.index[0]
    if are_times_of_day(counts.index.to_series()).mean() > NUMERIC_SHARE:
        return f"left out, it holds times of day, such as {shown}; a column with the hour could be used"
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 3]}..."
    return (
        f"left out, its {len(counts):,} values, such as {shown}, are too rare: hardly any occurs {MIN_ROWS} times in "
        "the training rows"
    )


def _are_dates(distinct: pd.Index) -> bool:
    """Whether texts are dates with or without a time, judged by a sample."""
    sample = distinct[:: ceil(len(distinct) / 200)].to_series().astype("str")
    if not sample.str.contains(r"\d{1,4}[-/. ]\w{1,9}[-/. ,]+\d{1,4}").mean() > NUMERIC_SHARE:
        return False
    is_unset = sample.str.startswith("0000-00-00")
    try:
        return bool((read_dates(sample, "")[0].notna() | is_unset).mean() > NUMERIC_SHARE)
    except DataError:
        # They are dates, some with the day first and others with the month first.
        return True


def _are_date_numbers(present: pd.Series) -> bool:
    """Whether numbers spell dates with their digits, or are timestamps from 2000 to 2100."""
    low, high = present.min(), present.max()
    ranges = [
        *((first, last) for layout, first, last in STAMPS if "%d" in layout),
        *((EARLIEST_TIMESTAMP * unit, END_OF_TIMES * unit) for unit in (1, 1e3, 1e6, 1e9)),
    ]
    return any(first <= low <= high <= last for first, last in ranges)


def _dates(values: pd.Series, column: str = "") -> Column:
    """A column of dates as timestamps in UTC, or the reason why it is left out."""
    rows = values.to_frame(column)
    try:
        dates, notices = timestamps_of(rows, column)
    except DataError as error:
        return Column(None, values, f"left out, it holds dates, but it {str(error).partition(', which ')[2]}")
    if not pd.api.types.is_datetime64_any_dtype(dates.dtype):
        dates = dates_of(dates)
    present, is_unread = dates.dropna(), dates.isna() & values.notna()
    if present.empty or present.min() == present.max():
        return Column(None, values, "left out, its dates are all the same")
    if is_unread.any():
        shown = values[is_unread].iloc[0]
        values_become = counted(
            int(is_unread.sum()), "value is not a date and becomes", "values are not dates and become"
        )
        notices.append(f"{values_become} missing, such as '{shown}'")
    remark = "; ".join(notice.removeprefix(f"{column}: ") for notice in notices)
    return Column(DeclaredField(type="date"), dates.astype("datetime64[us, UTC]"), remark)


def _number(read: ReadNumbers, original: pd.Series, column: str) -> Column:
    """A column of numbers as a count, money, number or category, or the reason why it is left out."""
    typed, words = read.numbers, words_of(column)
    # "TOP 10" does not mean 10 Tongan pa'anga, whose code is TOP, unless the column holds amounts.
    n_marked = sum(n for mark, n in read.currencies.items() if (currency_of(mark) or "-").casefold() not in NO_CURRENCY)
    is_money = _is_money(words) or n_marked * 2 > typed.notna().sum()
    present = typed[np.isfinite(typed)]
    if words & TIME_WORDS and not present.empty and not _constant(typed) and _are_date_numbers(present):
        return _dates(typed, column)
    if reason := _constant(typed) or ("" if is_money or present.empty else _no_measure(present, words)):
        return Column(None, typed, reason)
    if not is_money and _is_code(present, column):
        return code_column(original, present)
    is_beyond, notices = typed.abs() > LARGEST_NUMBER, []
    if is_beyond.any():
        shown = number_text(typed[is_beyond].iloc[0])
        values = counted(int(is_beyond.sum()), "value is", "values are")
        if is_beyond.mean() > 1 - NUMERIC_SHARE:
            return Column(None, typed, f"left out, {values} infinite or too large, such as {shown}")
        typed = typed.mask(is_beyond)
        become = "becomes" if is_beyond.sum() == 1 else "become"
        notices.append(f"{values} infinite or too large, such as {shown}, and {become} missing")
    present = typed.dropna()
    lowest = present.min()
    # Money is rounded to cents, which would distort amounts with more decimals, such as those in bitcoin. The
    # tolerance is that of float32.
    if is_money and ((present * 100 % 1 - 0.5).abs() > 0.5 - 1e-5 * present.abs() - 1e-9).mean() > NUMERIC_SHARE:
        unit, notice = _currency(read.currencies, words)
        field = DeclaredField(type="money", unit=unit, min=0.0 if lowest >= 0 else None)
        return _noted(Column(field, typed), *notices, notice)
    is_count = lowest >= 0 and bool((present % 1 == 0).all())
    return _noted(Column(DeclaredField(type="count" if is_count else "number"), typed), *notices)


def _is_money(words: set[str]) -> bool:
    return bool(words & MONEY_WORDS) and not words & NOT_MONEY_WORDS


def _currency(marks: Counter[str], words: set[str]) -> tuple[str | None, str]:
    """The currency of a column of amounts, None if it is unknown, and a warning if there are several."""
    in_name = words & CURRENCY_WORDS
    named = next(iter(in_name)).upper() if len(in_name) == 1 else None
    codes = Counter[str]()
    for mark, n in marks.items():
        codes[currency_of(mark) or mark] += n
    if len(codes) > 1:
        counts = ", ".join(f"{code} ({counted(n, 'row')})" for code, n in codes.most_common(MOST_SHOWN))
        return None, f"{WARNING}its amounts are in several currencies, {counts}, and are compared without conversion"
    code = next(iter(codes), None)
    return (code if code in CODES else None) or named, ""


def _is_code(present: pd.Series, column: str) -> bool:
    """Whether whole numbers stand for something, such as a card, a shop or a place, instead of measuring it."""
    if not (present % 1 == 0).all():
        return False
    if (present.abs().between(SMALLEST_CODE, LARGEST_CODE)).mean() > NUMERIC_SHARE:
        return True
    words, last = words_of(column), last_word_of(column)
    # "account number" is a code, but "number of accounts" is not.
    is_named = last in CODE_WORDS | {"id"} or (last in ID_WORDS | SIDES and bool(words & CODE_WORDS))
    is_named = is_named or re.fullmatch(_GLUED_ID, last) is not None
    return is_named and not words & NO_CODE_WORDS and present.nunique() > 2  # noqa: PLR2004 - a flag


def code_column(original: pd.Series, present: pd.Series, what: str = NO_AMOUNTS) -> Column:
    """A column of numbers that are codes, as a category or the reason why it is left out; `what` says what they are."""
    texts = as_text(original).astype("str").str.strip().str.replace(r"\.0+$", "", regex=True)
    is_large = texts.str.contains(_LARGE_FLOAT)
    texts[is_large] = texts[is_large].map(lambda text: str(int(float(text))))
    texts = texts.where(present.reindex(texts.index).notna())
    n_distinct, shown = present.nunique(), texts[present.index[0]]
    if (present.abs() >= SMALLEST_CODE).mean() > NUMERIC_SHARE and n_distinct * MIN_REPEATS > len(present):
        digits = len(shown.lstrip("+-"))
        return Column(
            None,
            texts,
            f"left out, its whole numbers of {digits} digits hardly repeat, such as {shown}: a phone, card or account "
            "number, or another id",
        )
    what = f"{what}, such as {shown}"
    counts = present.value_counts()
    frequent = counts[counts * TRAIN >= MIN_ROWS].iloc[:MAX_LEVELS_PER_FIELD]
    if frequent.sum() < MIN_LEARNED * len(present):
        return Column(None, texts, f"left out, {what}, and {_why_not_learned(counts, frequent)}")
    return _noted(_category(texts), what)


def _why_not_learned(counts: pd.Series, frequent: pd.Series) -> str:
    """Why the levels of an id are not learned, and what could use it; `counts` has the rows of each level."""
    values = f"{len(counts):,} values"
    why = f"hardly any of its {values} occurs {MIN_ROWS} times in the training rows"
    if len(frequent):
        share = f"{frequent.sum() / counts.sum():.0%} of the rows"
        why = f"only {share} have one of the {len(frequent):,} most frequent of its {values}, too few to learn from"
    return f"{why}; history features (how often it was seen, how much it spent) could use it"


def _no_measure(present: pd.Series, words: set[str]) -> str:
    """Why numbers are not a measure (an id, a row number), "" if they may be one."""
    low, high = present.min(), present.max()
    if not (present % 1 == 0).all():
        return ""
    n_distinct = present.nunique()
    if n_distinct > ID_SHARE * len(present) and (words & ID_WORDS or high - low < 2 * len(present)):
        return f"left out, it is an id: {n_distinct:,} of {len(present):,} values differ, as in {present.iloc[0]:.0f}"
    if n_distinct >= MIN_ORDERED and (present.is_monotonic_increasing or present.is_monotonic_decreasing):
        return "left out, it only rises or only falls from row to row: a row number, not a measure (is it the TIME?)"
    return ""
