"""Monotone constraints: what a declared direction of a field means for every feature that reads it."""

from handler.scoring.contract import Contract, DeclaredField, DerivedFeature

_SIGNS = {"increasing": 1, "decreasing": -1, None: 0}


def monotone_signs(contract: Contract) -> list[int]:
    """Per feature 1 (the risk may only rise with it), -1 (only fall) or 0, in the order of the model's columns.

    A derived feature takes over what its fields are bound to: with `amount` increasing and `average` at least 0,
    `amount / average` is increasing too. Raises ValueError where a field's direction cannot hold that way.
    """
    fields = [_SIGNS[field.monotone] for field in contract.fields.values()]
    return fields + [_derived_sign(name, feature, contract) for name, feature in contract.features.items()]


def _derived_sign(name: str, feature: DerivedFeature, contract: Contract) -> int:
    left, right = feature.operands
    wanted = {
        left: _sign_through(name, left, right, contract, inverted=False),
        right: _sign_through(name, right, left, contract, inverted=feature.ratio is not None),
    }
    signs = set(wanted.values()) - {0}
    if len(signs) > 1 or (left == right and signs):
        raise ValueError(
            f"features.{name} cannot keep to the directions of both {left} and {right}; remove one monotone, "
            f"or the feature"
        )
    return signs.pop() if signs else 0


def _sign_through(name: str, field: str, other: str, contract: Contract, *, inverted: bool) -> int:
    """The direction that a derived feature must have, so that one of its two fields keeps its own."""
    sign = _SIGNS[contract.fields[field].monotone]
    if not sign:
        return 0
    if contract.fields[other].lowest < 0:
        raise ValueError(
            f"fields.{field}.monotone cannot hold through features.{name}: {other} may be below 0 and turn the "
            f"direction round; declare {other} with min: 0, or remove the feature"
        )
    if inverted and _may_be_zero(contract.fields[field]):
        raise ValueError(
            f"fields.{field}.monotone cannot hold through features.{name}, which has no value where {field} is 0; "
            f"declare {field} with a min above 0, or remove the feature"
        )
    return -sign if inverted else sign


def _may_be_zero(field: DeclaredField) -> bool:
    return field.lowest <= 0 <= field.highest
