"""The label of each row, read from a column or from an expression over columns."""

import ast
import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from keyword import iskeyword
from typing import Any
from unicodedata import normalize

import pandas as pd

from training.data.column_checks import as_text
from training.data.near_names import require_column
from training.errors import DataError, counted
from training.intake.label_values import (
    CLASSES,
    is_missing,
    is_no_label,
    says_unknown,
    shown_counts,
    shown_places,
    shown_values,
)
from training.intake.numbers import as_truth, is_numeric, read_numbers

FRAUD_WORDS = ("fraud", "chargeback", "scam", "illicit", "bad")
YES_WORDS = ("yes", "y", "t", "positive")
# A column of 0 and 1 may hold a larger share of other values only if they say that the label is unknown.
MAX_STRAYS = 0.01
# With more values, a column does not hold classes.
MANY_VALUES = 50
_ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.boolop,
    ast.UnaryOp,
    ast.unaryop,
    ast.Compare,
    ast.cmpop,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.Tuple,
    ast.List,
)
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUALITIES = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
# A quoted text, in which a backtick has no special meaning, or a column in backticks.
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`((?:[^`]|``)+)`""", re.DOTALL)


@dataclass(frozen=True)
class Comparison:
    """A column that an expression compares with constants by ==, != or in."""

    column: pd.Series
    is_named: pd.Series
    """Which rows hold a value that the expression names."""
    texts: tuple[str, ...]
    """The texts that the expression names."""
    is_undecided: pd.Series
    """Which rows hold nothing, say that the label is not known yet, or hold something that is not a label."""


def read_label_expression(rows: pd.DataFrame, label: str) -> tuple[pd.Series, set[str], list[str]]:
    """Whether each row is a fraud (boolean, NA where that is unknown), the columns that decide it, and notices.

    Raises DataError if `label` is neither a column of 0 and 1 nor a comparison, or if it has only one class.
    """
    notices = []
    if label in rows:
        is_fraud, columns = as_truth(rows[label]), {label}
        _require_classes(rows[label], is_fraud)
    else:
        tree = _parsed(label, rows)
        compared = _comparisons(tree, rows)
        is_fraud, columns = _truth(tree, rows, compared), _columns(tree)
        notices = [f"{', '.join(sorted(columns))}: left out, because LABEL is computed from it"]
        notices += _unnamed_values(is_fraud, compared)
    n_frauds, n_known = int(is_fraud.sum()), int(is_fraud.notna().sum())
    if n_frauds in {0, n_known}:
        values = "; ".join(f"{column} holds {shown_counts(rows[column])}" for column in sorted(columns))
        which = "every row" if n_frauds else "no row"
        labelled = counted(n_known, "row with a known label", "rows with a known label")
        raise DataError(f"LABEL is {label}, which marks {which} as a fraud ({labelled}); {values}")
    notices += _left_out(is_fraud, rows, sorted(columns), label)
    if n_frauds > n_known / 2:
        notices.append(f"WARNING: LABEL marks {n_frauds / n_known:.0%} of the rows as frauds: is it inverted?")
    return is_fraud, columns, notices


def _require_classes(values: pd.Series, is_fraud: pd.Series) -> None:
    """Raise DataError unless a column holds 0 and 1, apart from unknown labels and a few values that are not labels."""
    wrong = is_fraud.isna() & ~is_missing(values)
    strays = wrong & ~says_unknown(values)
    if strays.sum() > MAX_STRAYS * len(values) or (wrong.any() and is_fraud.nunique() < len(CLASSES)):
        raise DataError(_explain_label(values, strays if strays.any() else wrong))


def _explain_label(values: pd.Series, wrong: pd.Series) -> str:
    """Why a label column is refused, and an expression that may be right; `wrong` says which rows hold no label."""
    column, remedy = str(values.name), "name another column"
    if suggestion := suggested_label(values):
        n_frauds = int(evaluate(suggestion, values.to_frame(column))[0].sum())
        remedy = f"define a fraud by an expression, such as {typed_label(suggestion)} ({counted(n_frauds, 'fraud')})"
    where = f" ({shown_places(wrong)})" if wrong.sum() <= MAX_STRAYS * len(values) else ""
    return (
        f"LABEL is {column}, which holds {shown_counts(values)}; {values[wrong].tolist()[0]!r}{where} is not 0, 1, "
        f"true or false: {remedy}"
    )


def suggested_label(values: pd.Series) -> str:
    """An expression over a column that makes some rows frauds and others not; "" if none is found."""
    column = str(values.name)
    present = values[~(is_missing(values) | is_no_label(values))]
    labelled = present[~says_unknown(present)]
    if len(labelled.unique()) < len(CLASSES):
        labelled = present
    typed = read_numbers(labelled) if is_numeric(labelled) else as_text(labelled)
    # The rarest first, because frauds are rare.
    distinct = typed.dropna().value_counts().index[::-1].tolist()
    table = values.to_frame(column)
    for candidate in _candidates(quoted_name(column), distinct, has_gaps=bool(is_missing(values).any())):
        if evaluate(candidate, table)[0].nunique() == len(CLASSES):
            return candidate
    return ""


def _candidates(column: str, distinct: list[Any], *, has_gaps: bool) -> list[str]:
    """Expressions that may define a fraud, the most likely first."""
    equalities = [f"{column} == {_literal(value)}" for value in _likely_frauds(distinct)[:MANY_VALUES]]
    if not distinct or not isinstance(distinct[0], float):
        return [f"{column} is not None", *equalities] if has_gaps and len(distinct) > MANY_VALUES else equalities
    if len(distinct) == len(CLASSES):
        return equalities
    if set(distinct) >= CLASSES and len(distinct) == len(CLASSES) + 1:
        # A third value beside 0 and 1 is more likely an unknown label than a degree of fraud.
        return [f"{column} == 1", *equalities]
    return [f"{column} < 0", f"{column} > {_literal(min(distinct))}", *equalities]


def _likely_frauds(distinct: list[Any]) -> list[Any]:
    """The values of a label: first those with a word for fraud, then those that mean yes, then the others."""

    def rank(value: object) -> int:
        text = str(value).strip().lower()
        if any(word in text for word in FRAUD_WORDS) and not text.startswith(("no", "un", "legit")):
            return 0
        return 1 if text in YES_WORDS else 2

    return sorted(distinct, key=rank)


def quoted_name(column: str) -> str:
    """A column as an expression names it: in backticks unless it is a Python name; a backtick inside is doubled.

    >>> quoted_name("is_fraud"), quoted_name("class"), quoted_name("Is Fraud?")
    ('is_fraud', '`class`', '`Is Fraud?`')
    """
    is_name = column.isidentifier() and not iskeyword(column) and normalize("NFKC", column) == column
    return column if is_name else "`" + column.replace("`", "``") + "`"


def _literal(value: object) -> str:
    """A value as a constant of an expression; whole numbers without decimals."""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else repr(value)
    return json.dumps(str(value), ensure_ascii=False)


def typed_label(expression: str) -> str:
    """An expression as it is typed after `make try`, in the shell's single quotes.

    >>> print(typed_label('status == "paid"'))
    LABEL='status == "paid"'
    """
    return "LABEL='" + expression.replace("'", "'\\''") + "'"


def _unnamed_values(is_fraud: pd.Series, compared: dict[str, Comparison]) -> list[str]:
    """Notices of the values that count as legitimate, or as frauds, without being named, if there are several."""
    notices = []
    for name, comparison in compared.items():
        notices += _other_spellings(name, comparison)
        for truth, meaning in ((False, "legitimate"), (True, "frauds")):
            values = comparison.column[(is_fraud == truth).fillna(value=False) & ~comparison.is_named]
            if len(values.unique()) > 1:
                notices.append(f"{name}: these count as {meaning}: {shown_counts(values)}")
    return notices


def _other_spellings(name: str, comparison: Comparison) -> list[str]:
    """A warning about values that differ only in case or blanks from those that the expression names."""
    if not comparison.texts:
        return []
    unnamed = as_text(comparison.column[~comparison.is_named]).dropna()
    distinct = unnamed.value_counts().index.tolist()
    spellings = {text.strip().casefold() for text in comparison.texts}
    others = [text for text in distinct if text.strip().casefold() in spellings]
    if not others:
        return []
    n_rows = counted(int(unnamed.isin(others).sum()), "row holds", "rows hold")
    values = ", ".join(map(_literal, dict.fromkeys((*comparison.texts, *others))))
    warning = (
        f"WARNING: {name}: {n_rows} {' or '.join(map(repr, others))}, which LABEL does not name, though only case or "
        f"blanks differ: correct the file, or name all: {quoted_name(name)} in ({values})"
    )
    return [warning]


def _left_out(is_fraud: pd.Series, rows: pd.DataFrame, columns: list[str], label: str) -> list[str]:
    """A notice for each reason why rows have no known label: it is not known yet, is not a label, or is missing."""
    notices, is_told = [], pd.Series(data=False, index=is_fraud.index)
    for column in columns:
        values = rows[column]
        is_open = is_fraud.isna() & ~is_missing(values) & ~is_told
        if (is_unknown := is_open & says_unknown(values)).any():
            notices.append(f"{column}: {_unknown_labels(values[is_unknown], label, is_column=label in rows)}")
        if (is_stray := is_open & ~is_unknown & is_no_label(values)).any():
            is_one, is_header = is_stray.sum() == 1, (values[is_stray].str.strip() == column).all()
            notices.append(
                f"{column}: {shown_places(is_stray)} {'holds' if is_one else 'hold'} {shown_values(values[is_stray])}, "
                f"{'the name of the column (a repeated header?)' if is_header else 'which is not a label'}, and "
                f"{'is' if is_one else 'are'} left out"
            )
        is_told |= is_unknown | is_stray
    if n_missing := int((is_fraud.isna() & ~is_told).sum()):
        whose = "its" if n_missing == 1 else "their"
        notices.append(
            f"{counted(n_missing, 'row is', 'rows are')} left out: a missing value makes {whose} label unknown"
        )
    return notices


def _unknown_labels(values: pd.Series, label: str, *, is_column: bool) -> str:
    """A notice of the values that mean an unknown label, with a LABEL that counts the main one as legitimate."""
    word = str(values.value_counts().index[0])
    decided = f"{quoted_name(label)} == 1" if is_column else label
    decided = f"({decided})" if re.search(r"\bor\b", decided) else decided
    counting = f"{decided} and {quoted_name(str(values.name))} != {_literal(word)}"
    return (
        f"{counted(len(values), 'row says', 'rows say')} {shown_values(values)} and "
        f"{'is' if len(values) == 1 else 'are'} left out, because the label is not known; to count {word!r} as "
        f"legitimate: {typed_label(counting)}"
    )


def evaluate(expression: str, rows: pd.DataFrame) -> tuple[pd.Series, set[str]]:
    """The truth of an expression per row, NA where a missing value leaves it unknown (Kleene 1938), and its columns.

    It may contain columns (in backticks if they are not Python names), constants, comparisons, `and`, `or` and `not`;
    it is never run as code. Raises DataError for anything else.
    """
    tree = _parsed(expression, rows)
    return _truth(tree, rows, _comparisons(tree, rows)), _columns(tree)


def _parsed(expression: str, rows: pd.DataFrame) -> ast.expr:
    """The syntax tree of an expression, with the columns of the rows as its names."""
    quoted: dict[str, str] = {}
    prefix = "quoted"
    while prefix in expression:
        prefix += "_"

    def placeholder(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        name = f"{prefix}_{len(quoted)}"
        quoted[name] = match[1].replace("``", "`")
        return f" {name} "

    try:
        tree = ast.parse(_QUOTED.sub(placeholder, expression).strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        if re.fullmatch(r"[^<>=!'\"]+", expression):
            require_column(expression, rows, "LABEL is")
        problem = _unquoted(expression, rows) or getattr(error, "msg", str(error))
        raise DataError(f"LABEL is {expression}, which cannot be read: {problem}") from error
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            if problem := _unquoted(expression, rows):
                raise DataError(f"LABEL is {expression}, which cannot be read: {problem}")
            raise _refusal(node)
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
            require_column(node.id, rows, "LABEL is" if node is tree.body else f"LABEL is {expression}: it names")
    return tree.body


def _unquoted(expression: str, rows: pd.DataFrame) -> str:
    """A hint about a column that lacks the backticks it needs, with the correct expression; "" if there is none."""
    in_need = [column for column in map(str, rows) if column in expression and quoted_name(column) != column]
    if not in_need or "`" in expression:
        return ""
    column = max(in_need, key=len)
    right = expression.replace(column, quoted_name(column))
    return f"{column} needs backticks: {typed_label(right)}"


def _columns(tree: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _comparisons(tree: ast.expr, rows: pd.DataFrame) -> dict[str, Comparison]:
    """Each column that an expression compares with constants by ==, != or in."""
    constants: dict[str, list[Any]] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        for (left, right), op in zip(pairwise([node.left, *node.comparators]), node.ops, strict=True):
            column, constant = (left, right) if isinstance(left, ast.Name) else (right, left)
            if isinstance(op, _EQUALITIES) and isinstance(column, ast.Name):
                parts = constant.elts if isinstance(constant, ast.Tuple | ast.List) else [constant]
                named = [_constant_of(part) for part in parts if not isinstance(part, ast.Name)]
                constants.setdefault(column.id, []).extend(named)
    return {column: _comparison(rows[column], named) for column, named in constants.items()}


def _constant_of(node: ast.expr) -> Any:  # noqa: ANN401 - a constant of any type
    """The value of a constant; None for anything else, which is refused when it is compared."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _comparison(values: pd.Series, named: list[Any]) -> Comparison:
    """The comparison of a column with the constants `named`.

    A row is undecided if its value is missing, or if it is not named and either says that the label is unknown or is
    not a label.
    """
    nothing, is_stray = is_missing(values), is_no_label(values)
    is_named = pd.Series(data=False, index=values.index)
    for constant in named:
        is_named |= _matches(values, constant)
    is_unknown = says_unknown(values) & ~is_named
    others = values[~(is_named | is_unknown | is_stray | nothing)]
    # If every account is either closed or open, open is a class, not a label that is not known yet.
    is_a_class = others.empty and values[is_named].nunique() < len(CLASSES)
    texts = tuple(constant for constant in named if isinstance(constant, str))
    return Comparison(values, is_named, texts, nothing | (is_stray & ~is_named) | (is_unknown & (not is_a_class)))


def _truth(node: ast.expr, rows: pd.DataFrame, compared: dict[str, Comparison]) -> pd.Series:
    """The truth of a part of an expression per row."""
    match node:
        case ast.BoolOp(op=op, values=parts):
            join = operator.and_ if isinstance(op, ast.And) else operator.or_
            return reduce(join, [_truth(part, rows, compared) for part in parts])
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return ~_truth(part, rows, compared)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            sides = zip(pairwise([left, *rights]), ops, strict=True)
            return reduce(operator.and_, [_compared(a, op, b, rows, compared) for (a, b), op in sides])
        case ast.Name(id=column):
            return as_truth(rows[column])
    raise _refusal(node)


def _refusal(node: ast.AST) -> DataError:
    return DataError(
        f"LABEL contains {ast.unparse(node)}; it may contain only columns, constants, comparisons, and, or, not, such "
        "as LABEL='status == \"chargeback\" or rating < 0'"
    )


def _compared(
    left: ast.expr, op: ast.cmpop, right: ast.expr, rows: pd.DataFrame, compared: dict[str, Comparison]
) -> pd.Series:
    """The truth of one comparison per row, of which one side must be a column; NA where a side is missing."""
    if not isinstance(left, ast.Name) and isinstance(right, ast.Name):
        mirrored = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
        left, op, right = right, mirrored.get(type(op), type(op))(), left
    if not isinstance(left, ast.Name):
        raise DataError(f"LABEL compares {ast.unparse(left)}; one side of a comparison must be a column")
    values = rows[left.id]
    if isinstance(right, ast.Name):
        other = rows[right.id]
        if is_numeric(values) and is_numeric(other):
            values, other = read_numbers(values), read_numbers(other)
        else:
            values, other = as_text(values), as_text(other)
        return _COMPARED[type(op)](values, other).astype("boolean").mask(values.isna() | other.isna())
    try:
        constant = ast.literal_eval(right)
    except ValueError as error:
        raise DataError(f"LABEL compares {left.id} with {ast.unparse(right)}, which is not a constant") from error
    if constant is None:
        nothing = is_missing(values).astype("boolean")
        return nothing if isinstance(op, ast.Is | ast.Eq) else ~nothing
    if isinstance(op, ast.In | ast.NotIn):
        allowed = constant if isinstance(constant, tuple | list | set) else [constant]
        is_in = reduce(operator.or_, [_equal(compared[left.id], value) for value in allowed])
        return is_in if isinstance(op, ast.In) else ~is_in
    if type(op) not in _COMPARED:
        raise DataError(f"LABEL compares {left.id} with is or is not, which are only for None; use == or !=")
    if isinstance(op, ast.Eq | ast.NotEq):
        is_equal = _equal(compared[left.id], constant)
        return is_equal if isinstance(op, ast.Eq) else ~is_equal
    typed = as_text(values) if isinstance(constant, str) else read_numbers(values)
    return _COMPARED[type(op)](typed, constant).astype("boolean").mask(typed.isna())


def _equal(comparison: Comparison, constant: object) -> pd.Series:
    """Which rows of a column equal a constant; NA where the column leaves that undecided."""
    is_undecided = comparison.is_undecided
    if isinstance(constant, bool):
        is_undecided |= as_truth(comparison.column).isna()
    return _matches(comparison.column, constant).astype("boolean").mask(is_undecided)


def _matches(values: pd.Series, constant: object) -> pd.Series:
    """Which values equal a constant; numbers are compared as numbers, texts as texts."""
    if isinstance(constant, bool):
        return (as_truth(values) == constant).fillna(value=False).astype(bool)
    if isinstance(constant, int | float):
        return read_numbers(values) == constant
    return (as_text(values) == constant).fillna(value=False).astype(bool)
