"""Monotone constraints: the direction that a field's declaration implies for each feature."""

from handler.scoring.contract import Contract, DerivedFeature
from handler.scoring.fields import DeclaredField

_SIGNS = {"increasing": 1, "decreasing": -1, None: 0}


def monotone_signs(contract: Contract) -> list[int]:
    """The direction of each feature, in the order of the model's columns: 1 (the risk may only rise), -1 (fall) or 0.

    A derived feature inherits the directions of its fields: with `amount` increasing and `average` at least 0,
    `amount / average` is increasing too. Raises ValueError if it cannot.
    """
    fields = [_SIGNS[field.monotone] for field in contract.columns.values()]
    return fields + [_derived_sign(name, feature, contract) for name, feature in contract.features.items()]


def _derived_sign(name: str, feature: DerivedFeature, contract: Contract) -> int:
    if feature.time:
        return 0
    left, right = feature.operands
    needed = {
        left: _sign_through(name, left, right, contract, inverted=False),
        right: _sign_through(name, right, left, contract, inverted=feature.ratio is not None),
    }
    signs = set(needed.values()) - {0}
    if len(signs) > 1 or (left == right and signs):
        raise ValueError(
            f"features.{name} cannot follow the directions of both {left} and {right}; remove monotone from one of "
            "them, or remove the feature"
        )
    return signs.pop() if signs else 0


def _sign_through(name: str, field: str, other: str, contract: Contract, *, inverted: bool) -> int:
    """The direction that a derived feature needs for one of its two fields to keep its declared direction."""
    sign = _SIGNS[contract.columns[field].monotone]
    if not sign:
        return 0
    if contract.columns[other].lowest < 0:
        raise ValueError(
            f"fields.{field}.monotone cannot hold for features.{name}: {other} may be below 0 and invert "
            f"the direction; declare {other} with min: 0, or remove the feature"
        )
    if inverted and _may_be_zero(contract.columns[field]):
        raise ValueError(
            f"fields.{field}.monotone cannot hold for features.{name}, which has no value where {field} is 0; "
            + ("" if contract.columns[field].type == "date" else f"declare {field} with a min above 0, or ")
            + "remove the feature"
        )
    return -sign if inverted else sign


def _may_be_zero(field: DeclaredField) -> bool:
    return field.lowest <= 0 <= field.highest
