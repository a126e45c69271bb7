"""Numbers and booleans in the spellings that people use in text."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from training.data.column_checks import as_text
from training.intake.currencies import CODES, SIGNS

# Spellings of a missing value: these in any column, those below only among numbers, because "NA" may be Namibia.
_NOTHING = r"\n null (null) <null> [null] {null} <na> #n/a #null!"
_NO_NUMBER = "- -- --- . .. ? na n/a n.a. nan nil none unknown missing (blank) #value! #div/0! #ref!"
# The spellings of a missing value in any column, and those in a column of numbers.
NOTHING = frozenset(_NOTHING.split())
NO_NUMBER = NOTHING.union(("", *_NO_NUMBER.split()))
NUMERIC_SHARE = 0.95
# Other texts among numbers mean a missing value if at most MOST_TOKENS different ones repeat, among at least
# FEWEST_NUMBERS different numbers.
MOST_TOKENS, FEWEST_NUMBERS = 2, 10
SAMPLE = 2_000
# Above this, the digits of a number say less than its power of ten.
LARGEST_WHOLE = 1e25


_WORDS = "|".join([*sorted(CODES), *sorted(filter(str.isalpha, SIGNS), key=len, reverse=True)])
_CURRENCY = rf"(?i:{_WORDS}|\pL{{0,3}}\p{{Sc}})\.?"
_DASHES = r"[\x{2010}-\x{2013}\x{2212}]"
_APOSTROPHES = r"[\x{2018}\x{2019}\x{2bc}\x{2032}\x{b4}`]"
_SPACES = r"[\s\x{200b}\x{feff}]+"
_BRACKETS = r"^([^()\d]*)\(([^()]*\d[^()]*)\)([^()\d]*)$"
_SIGNED = r"^(?P<before>[+-]?)\s?(?P<digits>[^+-]*?(?:[eE][+-]?\d+)?)\s?(?P<after>[+-]?)$"
_PLUS_DIGITS = 10
# A text without one of these is not a number; pandas reads inf too.
_DIGIT = r"\pN|(?i:inf)"


def _no_texts() -> pd.Series:
    return pd.Series([], pd.Index([], dtype="str"), dtype=np.int64)


@dataclass(frozen=True)
class ReadNumbers:
    """A column read as numbers."""

    numbers: pd.Series
    """float64, NaN where a cell is not a number."""
    nothing: pd.Series = field(default_factory=_no_texts)
    """How often each text that stands for a missing number occurs, the most frequent first."""
    words: pd.Series = field(default_factory=_no_texts)
    """How often each other text that is not a number occurs."""
    currencies: Counter[str] = field(default_factory=Counter)
    """How many numbers have a currency, by the mark that names it."""
    notice: str = ""
    """What was decided about signs, "" if nothing had to be decided."""

    @property
    def are_numbers(self) -> bool:
        """Whether the column holds numbers: nearly all cells are read, or the others repeat a word or two."""
        n_numbers, n_words = int(self.numbers.notna().sum()), int(self.words.sum())
        if not n_numbers or n_words * NUMERIC_SHARE <= n_numbers * (1 - NUMERIC_SHARE):
            return n_numbers > 0
        is_repeated = len(self.words) <= MOST_TOKENS and self.words.min() > 1 and n_words <= n_numbers
        return bool(is_repeated) and self.numbers.nunique() >= FEWEST_NUMBERS


def as_truth(values: pd.Series) -> pd.Series:
    """The values as nullable booleans: 0, 1, true and false in any case, NA for anything else."""
    spelled = values.astype("str").str.strip().str.casefold()
    mapped = spelled.map({"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "true": 1.0, "false": 0.0})
    return (mapped == 1).astype("boolean").mask(mapped.isna())


def is_numeric(values: pd.Series) -> bool:
    """Whether nearly all values of a column are numbers, typed or as text."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return True
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return False
    return numbers_of(as_text(values) if values.dtype == object else values).are_numbers


def read_numbers(values: pd.Series) -> pd.Series:
    """Numbers or texts as float64, NaN where one is not a number; currency signs and separators are read.

    >>> read_numbers(pd.Series(["$1,200.50", "n/a", "($3)"])).tolist()
    [1200.5, nan, -3.0]
    """
    return numbers_of(values).numbers


def numbers_of(values: pd.Series) -> ReadNumbers:
    """A column of numbers or texts read as numbers, with what is not a number."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return ReadNumbers(values.astype("Float64").astype(np.float64))
    texts = pa.array(values.astype("str").array, pa.large_string(), from_pandas=True)
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    try:
        plain = pc.cast(pc.utf8_trim_whitespace(texts), pa.float64())
        return ReadNumbers(pd.Series(plain.to_numpy(zero_copy_only=False), values.index))
    except pa.ArrowInvalid:
        pass
    # Each different text is read once.
    encoded = texts.dictionary_encode()
    distinct = encoded.dictionary
    codes = encoded.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(distinct) + 1)[:-1]
    if _has_numbers(distinct):
        numbers, currencies, notice = _read_distinct(distinct, counts)
    else:
        numbers, currencies, notice = np.full(len(distinct), np.nan), Counter[str](), ""
    is_unread = np.isnan(numbers)
    unread_texts = pd.Index(distinct.filter(pa.array(is_unread)), dtype="str")
    unread = pd.Series(counts[is_unread], unread_texts, dtype=np.int64)
    unread = unread.sort_values(ascending=False, kind="stable")
    is_nothing = unread.index.str.strip().str.casefold().isin(NO_NUMBER)
    values = pd.Series(np.append(numbers, np.nan)[codes], values.index)
    return ReadNumbers(values, unread[is_nothing], unread[~is_nothing], currencies, notice)


def _has_numbers(distinct: pa.Array) -> bool:
    """Whether there are numbers among distinct texts, judged by a sample if there are many texts."""
    if not pc.any(pc.match_substring_regex(distinct, _DIGIT)).as_py():
        return False
    if len(distinct) <= SAMPLE:
        return True
    sample = distinct.take(pa.array(np.linspace(0, len(distinct) - 1, SAMPLE, dtype=np.int64)))
    return not np.isnan(_read_distinct(sample, np.ones(SAMPLE, dtype=np.int64))[0]).all()


def _read_distinct(texts: pa.Array, counts: np.ndarray) -> tuple[np.ndarray, Counter[str], str]:
    """Distinct texts as numbers, NaN where one is not; the marks of currencies; and what was decided about signs.

    `counts` says how often each occurs. Whether a point or a comma separates thousands is decided by all of them.
    """
    bare = normalised_texts(texts)
    for pattern, plain in ((_DASHES, "-"), (_APOSTROPHES, "'"), (_SPACES, " ")):
        bare = pc.replace_substring_regex(bare, pattern, plain)
    bare = pc.utf8_trim_whitespace(bare)
    bare, is_credit, is_debit = _without_marks(bare)
    is_negative = _is(pc.match_substring_regex(bare, _BRACKETS))
    bare = pc.replace_substring_regex(bare, _BRACKETS, r"\1\2\3")
    bare = pc.replace_substring_regex(bare, r"^%\s?|\s?%$", "")
    amounts = pc.replace_substring_regex(bare, rf"^([+-]?)\s?{_CURRENCY}\s?", r"\1")
    amounts = pc.replace_substring_regex(amounts, rf"\s?{_CURRENCY}\s?([+-]?)$", r"\1")
    parts = pc.extract_regex(amounts, _SIGNED)
    before, digits, after = (pc.struct_field(parts, [name]).fill_null("") for name in ("before", "digits", "after"))
    is_phone = _is(pc.equal(before, "+")) & (_n_digits(digits) >= _PLUS_DIGITS)
    is_negative |= _is(pc.equal(before, "-")) | _is(pc.equal(after, "-"))
    has_currency = _is(pc.not_equal(bare, amounts))
    numbers = _separated(digits, counts, has_currency)
    numbers[is_phone] = np.nan
    numbers = np.where(is_negative, -np.abs(numbers), numbers)
    if len(unread := np.flatnonzero(np.isnan(numbers) & ~is_phone)):
        numbers[unread] = pd.to_numeric(texts.take(pa.array(unread)).to_pandas(), errors="coerce")
    is_read = ~np.isnan(numbers)
    numbers, notice = _with_marks(numbers, is_credit & is_read, is_debit & is_read)
    marked = pc.struct_field(pc.extract_regex(bare, rf"(?P<mark>{_CURRENCY})"), ["mark"])
    pairs = pd.Series(counts[has_currency & is_read]).groupby(
        marked.filter(pa.array(has_currency & is_read)).to_numpy(zero_copy_only=False)
    )
    return numbers, Counter({mark: int(n) for mark, n in pairs.sum().items()}), notice


def _without_marks(texts: pa.Array) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """The texts without marks of credit and debit, which of them are credits, and which are debits."""
    marks = pc.struct_field(pc.extract_regex(texts, r"(?i)(?:^|[^\pL])(?P<mark>CR|DR)\.?$"), ["mark"])
    letters = pc.struct_field(pc.extract_regex(texts, r"[.,]\d\d\s?(?P<mark>[CDHS])$"), ["mark"])
    marked = pc.utf8_upper(pc.coalesce(marks, letters)).fill_null("").to_numpy(zero_copy_only=False)
    bare = pc.replace_substring_regex(texts, r"(?i)(^|[^\pL])(?:CR|DR)\.?$", r"\1")
    bare = pc.replace_substring_regex(bare, r"([.,]\d\d)\s?[CDHS]$", r"\1")
    return pc.utf8_trim_whitespace(bare), np.isin(marked, ["CR", "C", "H"]), np.isin(marked, ["DR", "D", "S"])


def _with_marks(numbers: np.ndarray, is_credit: np.ndarray, is_debit: np.ndarray) -> tuple[np.ndarray, str]:
    """The numbers with the sign that their marks give them, and what was decided.

    Debits are negative. If only credits are marked, as on a card statement, credits are negative.
    """
    if is_debit.any():
        return np.where(is_debit, -np.abs(numbers), numbers), "debits (DR) are negative"
    if is_credit.any() and (~np.isnan(numbers) & ~is_credit).any():
        return np.where(is_credit, -np.abs(numbers), numbers), "credits (CR) are negative, the others have no mark"
    return numbers, ""


def _separated(digits: pa.Array, counts: np.ndarray, has_currency: np.ndarray) -> np.ndarray:
    """Digits with separators as numbers, with the roles of point and comma that fit most of them."""
    readings = []
    for thousands, point in ((",", "."), (".", ",")):
        groups = "|".join(rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+" for mark in (re.escape(thousands), " ", "'"))
        shape = rf"^(?:(?:\d+|{groups})(?:{re.escape(point)}\d*)?|{re.escape(point)}\d+)(?:[eE][+-]?\d+)?$"
        fitting = pc.if_else(pc.match_substring_regex(digits, shape), digits, None)
        bare = pc.replace_substring_regex(fitting, rf"[{re.escape(thousands)} ']", "")
        plain = pc.replace_substring(bare, point, ".")
        readings.append(pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False))
    fits = [int(counts[~np.isnan(reading)].sum()) for reading in readings]
    if fits[0] == fits[1] and has_currency.any():
        # Amounts of money have no fractions of three digits: 1.200 € is twelve hundred.
        fits = [int((reading[has_currency] % 1 == 0).sum()) for reading in readings]
    best: np.ndarray = readings[int(fits[1] > fits[0])]
    return best.copy()


def _is(mask: pa.Array) -> np.ndarray:
    return np.asarray(mask.fill_null(fill_value=False), dtype=np.bool_)


def _n_digits(texts: pa.Array) -> np.ndarray:
    return np.asarray(pc.utf8_length(pc.replace_substring_regex(texts, r"\D", "")), dtype=np.int64)


def number_text(number: float) -> str:
    """A number as people write it: whole ones without decimals.

    >>> number_text(28007.0), number_text(0.25), number_text(1e300)
    ('28007', '0.25', '1e+300')
    """
    return f"{number:.0f}" if abs(number) < LARGEST_WHOLE and number % 1 == 0 else f"{number:.10g}"


def normalised_texts(texts: pa.Array) -> pa.Array:
    """Texts in Unicode's form NFKC: all kinds of spaces and digits are plain ones, accents are one letter."""
    is_plain = pc.string_is_ascii(texts)
    if pc.all(is_plain, min_count=0).as_py():
        return texts
    # Arrow's own function separates accents from letters, whatever form is requested.
    composed = [unicodedata.normalize("NFKC", text) for text in texts.filter(pc.invert(is_plain)).to_pylist()]
    return pc.replace_with_mask(texts, pc.invert(is_plain), pa.array(composed, texts.type))
