"""Detects the encoding of text that is not UTF-8: Windows-1252, which is read, or another, which an error names."""

import re
import unicodedata

# A run of bytes beyond ASCII: hardly ever longer than one byte in Western languages, most of a word in other scripts.
_RUN = re.compile(rb"[\x80-\xff]+")
_LONG_RUN = 1.8
# Fewer bytes beyond ASCII say nothing about the encoding.
_MIN_BYTES = 8
# Encodings, and how the Unicode names of their scripts' letters begin. Of equally good ones, the first is taken.
_SCRIPTS = (
    ("euc_kr", ("HANGUL",)),
    ("cp1255", ("HEBREW LETTER",)),
    ("cp1251", ("CYRILLIC",)),
    ("koi8_r", ("CYRILLIC",)),
    ("cp866", ("CYRILLIC",)),
    ("cp1253", ("GREEK",)),
    ("cp1256", ("ARABIC",)),
    ("shift_jis", ("HIRAGANA", "KATAKANA LETTER")),
    ("euc_jp", ("HIRAGANA", "KATAKANA LETTER")),
    ("gb18030", ("CJK",)),
)
# Of equally good ones, the first is taken.
_LATIN = ("cp1252", "cp1250", "cp850", "mac_roman")
_PUNCTUATION = "\u2019\u2018\u2013\u2014\u2026\u00a0\u00ad\u00b7"
# How much better than Windows-1252 another encoding must be.
_MARGIN = 0.2
_KANA_SHARE = 0.3


def other_encoding(sample: bytes) -> str:
    """The encoding of bytes that are neither UTF-8 nor Windows-1252; "" if they may be the latter."""
    runs = _RUN.findall(sample)
    n_bytes = sum(map(len, runs))
    if n_bytes < _MIN_BYTES:
        return ""
    if n_bytes / len(runs) > _LONG_RUN:
        shares = {encoding: _script_share(sample, encoding, script) for encoding, script in _SCRIPTS}
        # Japanese has Chinese characters too, so it would otherwise be taken for Chinese.
        in_kana = max(("shift_jis", "euc_jp"), key=lambda encoding: shares[encoding])
        if shares[in_kana] > _KANA_SHARE and max(shares["euc_kr"], shares["cp1251"], shares["cp1253"]) < 1:
            return in_kana
        best = max(shares, key=lambda encoding: shares[encoding])
        # Text in Chinese characters may be Japanese without kana; gb2312 has only the common Chinese characters.
        japanese, chinese = (_script_share(sample, encoding, ("CJK",)) for encoding in ("shift_jis", "gb2312"))
        if best == "gb18030" and japanese > chinese:
            return "shift_jis"
        return best if shares[best] > _KANA_SHARE else ""
    scores = {encoding: _latin_score(sample, encoding) for encoding in _LATIN}
    best = max(scores, key=lambda encoding: scores[encoding])
    return best if scores[best] > scores["cp1252"] + _MARGIN else ""


def iconv_name(encoding: str) -> str:
    """An encoding as the command `iconv` calls it."""
    return {"mac_roman": "MACINTOSH"}.get(encoding, encoding.upper().replace("_", "-"))


def _script_share(sample: bytes, encoding: str, names: tuple[str, ...]) -> float:
    """The share of the characters beyond ASCII that are in a script and are not capitals after a small letter."""
    text = sample.decode(encoding, errors="replace")
    beyond = [(before, character) for before, character in zip(" " + text, text, strict=False) if ord(character) > 127]  # noqa: PLR2004 - ASCII
    n_script = sum(
        unicodedata.name(character, "").startswith(names) and not (before.islower() and character.isupper())
        for before, character in beyond
    )
    return n_script / len(beyond)


def _latin_score(sample: bytes, encoding: str) -> float:
    """How well the characters beyond ASCII that are next to letters fit these, from -1 to 1."""
    text = sample.decode(encoding, errors="replace")
    points = [
        _fits(before, character)
        for before, character, after in zip(" " + text, text, text[1:] + " ", strict=False)
        if ord(character) > 127 and (before.isalpha() or after.isalpha()) and character not in _PUNCTUATION  # noqa: PLR2004 - ASCII
    ]
    return sum(points) / len(points) if points else 0


def _fits(before: str, character: str) -> int:
    """1 for a letter within a word, -1 for a sign or for a capital after a small letter."""
    is_letter = character.isalpha() and unicodedata.name(character, "").startswith("LATIN")
    return 1 if is_letter and not (before.islower() and character.isupper()) else -1
