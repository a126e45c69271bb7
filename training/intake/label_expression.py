"""The label of each row, read from a column or from an expression over columns."""

import ast
import operator
import re
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

import pandas as pd

from training.data.column_checks import as_text
from training.errors import DataError
from training.intake.field_names import require_column
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
    """Whether each row is a fraud (boolean, NA where that is unknown), the columns that decide it, and notices.

    Raises DataError where `label` is neither a column of 0 and 1 nor a comparison, or has one class only.
    """
    if label in rows:
        is_fraud, columns = as_truth(rows[label]), {label}
        if (wrong := is_fraud.isna() & rows[label].notna() & (rows[label].astype(object) != "")).any():
            raise DataError(_explain_label(rows[label], rows[label][wrong].tolist()[0], label))
    else:
        is_fraud, columns = evaluate(label, rows)
    n_frauds, n_known = int(is_fraud.sum()), int(is_fraud.notna().sum())
    if n_frauds in {0, n_known}:
        values = "; ".join(f"{column} holds {_examples(rows[column])}" for column in sorted(columns))
        which = "every row" if n_frauds else "no row"
        raise DataError(f"LABEL is {label}, by which {which} is a fraud ({n_known:,} rows known); {values}")
    notices = []
    if label not in rows:
        notices.append(f"{', '.join(sorted(columns))}: left out, because LABEL is computed from it")
    if n_frauds > n_known / 2:
        notices.append(f"WARNING: by LABEL {n_frauds / n_known:.0%} of the rows are frauds: is it inverted?")
    return is_fraud, columns, notices


def _explain_label(values: pd.Series, wrong: object, column: str) -> str:
    """Why a label column is refused, and an expression that may be right."""
    quoted = column if column.isidentifier() else f"`{column}`"
    typed = read_numbers(values) if is_numeric(values) else values
    # The rarest first, because frauds are rare.
    distinct = typed.dropna().value_counts().index[::-1].tolist()
    if isinstance(distinct[0], float) and len(distinct) > 2:  # noqa: PLR2004 - more than two classes
        suggested = f"{quoted} < 0" if min(distinct) < 0 else f"{quoted} > {int(min(distinct))}"
    elif isinstance(distinct[0], float):
        suggested = f"{quoted} == {distinct[0]:g}"
    else:
        likely = [value for value in distinct if any(word in str(value).lower() for word in FRAUD_WORDS)]
        likely += [value for value in distinct if str(value).lower() in YES_WORDS]
        suggested = f'{quoted} == "{(likely or distinct)[0]}"'
    return (
        f"LABEL is {column}, which holds {_examples(values)}; {wrong!r} is neither 0 nor 1 nor true nor false: "
        f"define a fraud by an expression, such as LABEL='{suggested}'"
    )


def _examples(values: pd.Series, limit: int = 5) -> str:
    """The most frequent values of a column, with how often each occurs."""
    counts = values.value_counts(dropna=False)
    pairs = zip(counts.index[:limit].tolist(), counts.iloc[:limit].tolist(), strict=True)
    shown = [f"{'nothing' if pd.isna(value) else repr(value)} ({count:,} times)" for value, count in pairs]
    return ", ".join(shown) + (f" and {len(counts) - limit:,} more values" if len(counts) > limit else "")


def evaluate(expression: str, rows: pd.DataFrame) -> tuple[pd.Series, set[str]]:
    """The truth of an expression per row, NA where a missing value leaves it unknown (Kleene 1938), and its columns.

    It may contain columns (in backticks where they are not Python names), constants, comparisons, and, or, not; it is
    never run as code. Raises DataError for anything else.
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
        raise DataError(f"LABEL is {expression}, which cannot be read: {error.msg}") from error
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise _refusal(node)
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
            require_column(node.id, rows, "LABEL is" if node is tree.body else f"LABEL is {expression}: it has")
    return _truth(tree.body, rows), {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _truth(node: ast.expr, rows: pd.DataFrame) -> pd.Series:
    """The truth of a part of an expression per row."""
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


def _refusal(node: ast.AST) -> DataError:
    return DataError(
        f"LABEL has {ast.unparse(node)}; it may have columns, constants, comparisons, and, or, not, such as "
        "LABEL='status == \"chargeback\" or rating < 0'"
    )


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, rows: pd.DataFrame) -> pd.Series:
    """One comparison, its left side a column: NA where a side is missing."""
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
        is_missing = (values.isna() | (values.astype(object) == "")).astype("boolean")
        return is_missing if isinstance(op, ast.Is | ast.Eq) else ~is_missing
    if isinstance(op, ast.In | ast.NotIn):
        allowed = constant if isinstance(constant, tuple | list | set) else [constant]
        is_in = reduce(operator.or_, [_equal(values, value) for value in allowed])
        return is_in if isinstance(op, ast.In) else ~is_in
    if type(op) not in _COMPARED:
        raise DataError(f"LABEL compares {left.id} by is or is not, which are for None; use == or !=")
    if isinstance(op, ast.Eq | ast.NotEq):
        is_equal = _equal(values, constant)
        return is_equal if isinstance(op, ast.Eq) else ~is_equal
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
