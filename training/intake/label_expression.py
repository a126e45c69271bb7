"""Label: a column, or an expression over columns -> whether each row is a fraud."""

import ast
import operator
import re
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

import pandas as pd

from training.data.column_checks import as_text
from training.intake.field_names import InferenceError, require_column
from training.intake.numbers import as_truth, is_numeric, read_numbers

FRAUD_WORDS = ("fraud", "chargeback", "scam", "illicit", "bad")
YES_WORDS = ("yes", "y", "t", "positive")
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


def read_label(rows: pd.DataFrame, label: str) -> tuple[pd.Series, set[str], list[str]]:
    """Whether each row is a fraud (boolean, NA where that is not known), the columns this reads, and notices.

    Raises InferenceError where `label` is neither a column of 0 and 1 nor a comparison, or has one class only.
    """
    if label in rows:
        is_fraud, read = as_truth(rows[label]), {label}
        if (wrong := is_fraud.isna() & rows[label].notna() & (rows[label].astype(object) != "")).any():
            raise InferenceError(_explain_label(rows[label], rows[label][wrong].tolist()[0], label))
    else:
        is_fraud, read = evaluate(label, rows)
    n_frauds, n_known = int(is_fraud.sum()), int(is_fraud.notna().sum())
    if n_frauds in {0, n_known}:
        values = "; ".join(f"{column} holds {_examples(rows[column])}" for column in sorted(read))
        which = "no row a fraud" if not n_frauds else "every row a fraud"
        raise InferenceError(f"LABEL is {label}, which calls {which} ({n_known:,} rows known); {values}")
    notices = []
    if label not in rows:
        notices.append(f"{', '.join(sorted(read))}: left out, LABEL reads it, and a model that saw it would repeat it")
    if n_frauds > n_known / 2:
        notices.append(f"WARNING: LABEL calls {n_frauds / n_known:.0%} of the rows frauds: is it the wrong way round?")
    return is_fraud, read, notices


def _explain_label(values: pd.Series, wrong: object, column: str) -> str:
    """Why a label column is refused, and how the expression would be spelt."""
    spelt = column if column.isidentifier() else f"`{column}`"
    counted = read_numbers(values) if is_numeric(values) else values
    # The rarest first: frauds are.
    distinct = counted.dropna().value_counts().index[::-1].tolist()
    if isinstance(distinct[0], float) and len(distinct) > 2:  # noqa: PLR2004 - more than two classes
        suggested = f"{spelt} < 0" if min(distinct) < 0 else f"{spelt} > {int(min(distinct))}"
    elif isinstance(distinct[0], float):
        suggested = f"{spelt} == {distinct[0]:g}"
    else:
        looks_bad = [value for value in distinct if any(word in str(value).lower() for word in FRAUD_WORDS)]
        looks_bad += [value for value in distinct if str(value).lower() in YES_WORDS]
        suggested = f'{spelt} == "{(looks_bad or distinct)[0]}"'
    return (
        f"LABEL is {column}, which holds {_examples(values)}; {wrong!r} is neither 0 nor 1 nor true nor false: "
        f"say what a fraud is, such as LABEL='{suggested}'"
    )


def _examples(values: pd.Series, most: int = 5) -> str:
    """The most frequent values of a column, with how often each occurs."""
    counts = values.value_counts(dropna=False)
    pairs = zip(counts.index[:most].tolist(), counts.iloc[:most].tolist(), strict=True)
    shown = [f"{'nothing' if pd.isna(value) else repr(value)} ({count:,} times)" for value, count in pairs]
    return ", ".join(shown) + (f" and {len(counts) - most:,} more values" if len(counts) > most else "")


def evaluate(expression: str, rows: pd.DataFrame) -> tuple[pd.Series, set[str]]:
    """The truth of an expression per row, NA where a missing value leaves it open (Kleene 1938); the columns it reads.

    It may hold columns (in backticks where they are no Python names), constants, comparisons, and, or, not: nothing
    in it is ever run as code. Raises InferenceError for anything else.
    """
    quoted: dict[str, str] = {}

    def placeholder(match: re.Match[str]) -> str:
        quoted[f"quoted_{len(quoted)}_"] = match[1]
        return f"quoted_{len(quoted) - 1}_"

    try:
        tree = ast.parse(re.sub(r"`([^`]+)`", placeholder, expression).strip(), mode="eval")
    except SyntaxError as error:
        if re.fullmatch(r"[^<>=!'\"]+", expression):
            require_column(expression, rows, "LABEL is")
        raise InferenceError(f"LABEL is {expression}, which cannot be read: {error.msg}") from error
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise _refusal(node)
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
            require_column(node.id, rows, "LABEL is" if node is tree.body else f"LABEL is {expression}: it has")
    return _truth(tree.body, rows), {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _truth(node: ast.expr, rows: pd.DataFrame) -> pd.Series:
    """A part of an expression that is true or false."""
    match node:
        case ast.BoolOp(op=op, values=parts):
            return reduce(operator.and_ if isinstance(op, ast.And) else operator.or_, [_truth(p, rows) for p in parts])
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return ~_truth(part, rows)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            sides = pairwise([left, *rights])
            return reduce(operator.and_, [_compared(a, op, b, rows) for (a, b), op in zip(sides, ops, strict=True)])
        case ast.Name(id=column):
            return as_truth(rows[column])
    raise _refusal(node)


def _refusal(node: ast.AST) -> InferenceError:
    return InferenceError(
        f"LABEL has {ast.unparse(node)}; it may have columns, constants, comparisons, and, or, not, such as "
        "LABEL='status == \"chargeback\" or rating < 0'"
    )


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, rows: pd.DataFrame) -> pd.Series:
    """One comparison, its left side a column: NA where a side is missing."""
    if not isinstance(left, ast.Name) and isinstance(right, ast.Name):
        mirrored = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
        left, op, right = right, mirrored.get(type(op), type(op))(), left
    if not isinstance(left, ast.Name):
        raise InferenceError(f"LABEL compares {ast.unparse(left)}; one side of a comparison must be a column")
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
        raise InferenceError(f"LABEL compares {left.id} with {ast.unparse(right)}, which is no constant") from error
    if constant is None:
        is_missing = (values.isna() | (values.astype(object) == "")).astype("boolean")
        return is_missing if isinstance(op, ast.Is | ast.Eq) else ~is_missing
    if isinstance(op, ast.In | ast.NotIn):
        parts = [_equal(values, one) for one in (constant if isinstance(constant, tuple | list | set) else [constant])]
        found = reduce(operator.or_, parts)
        return found if isinstance(op, ast.In) else ~found
    if type(op) not in _COMPARED:
        raise InferenceError(f"LABEL asks what {left.id} is; is and is not are for None, == and != for values")
    if isinstance(op, ast.Eq | ast.NotEq):
        found = _equal(values, constant)
        return found if isinstance(op, ast.Eq) else ~found
    typed = as_text(values) if isinstance(constant, str) else read_numbers(values)
    return _COMPARED[type(op)](typed, constant).astype("boolean").mask(typed.isna())


def _equal(values: pd.Series, constant: object) -> pd.Series:
    """Where a column equals a constant; numbers as numbers, texts as texts."""
    if isinstance(constant, bool):
        typed = as_truth(values)
    elif isinstance(constant, int | float):
        typed = read_numbers(values)
    else:
        typed = as_text(values)
    return (typed == constant).astype("boolean").mask(typed.isna())
