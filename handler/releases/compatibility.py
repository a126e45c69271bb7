"""Backward compatibility of contracts: every valid request must stay valid, with the same kind of answer."""

from handler.scoring.contract import Contract
from handler.scoring.fields import NUMERIC_TYPES, STRING_TYPES, DeclaredField

# Per type: the types that accept all of its values.
_ACCEPTING_TYPES = {
    "number": {"number", "money"},
    "money": {"number", "money"},
    "count": {"count", "number", "money"},
    "category": set(STRING_TYPES),
    "text": set(STRING_TYPES),
    # Unlike the other types of text, a key may be empty, and may be sent as a number.
    "key": {"key"},
    "audit": set(STRING_TYPES),
    "flag": {"flag"},
    "date": {"date"},
}


def breaking_changes(promised: Contract, offered: Contract) -> list[str]:
    """The breaking changes from the promised to the offered contract, one phrase each; empty if it is compatible.

    Features, units and everything else that only the model sees may differ.
    """
    changes = [
        f"its {name} is {new!r}, not {old!r}"
        for name, old, new in (
            ("route", promised.route, offered.route),
            ("kind of answer", promised.answer, offered.answer),
            ("id", promised.id, offered.id),
        )
        if old != new
    ]
    old_fields = {field.alias or name: field for name, field in promised.fields.items()}
    new_fields = {field.alias or name: field for name, field in offered.fields.items()}
    for key, field in old_fields.items():
        changes += _narrowings(key, field, new_fields[key]) if key in new_fields else [f"it does not accept {key}"]
    if promised.time_key and offered.time_key != promised.time_key:
        changes.append(f"it does not accept {promised.time_key}")
    changes += [f"it requires {key}" for key, field in new_fields.items() if field.required and key not in old_fields]
    return changes


def _narrowings(key: str, promised: DeclaredField, offered: DeclaredField) -> list[str]:
    """The ways in which a field accepts less than before, one phrase each."""
    if offered.type not in _ACCEPTING_TYPES[promised.type]:
        return [f"its {key} is a {offered.type}, not a {promised.type}"]
    changes = []
    if offered.required and not promised.required:
        changes.append(f"it requires {key}")
    if promised.type in STRING_TYPES:
        if offered.max_length < promised.max_length:
            changes.append(f"its {key} has at most {offered.max_length} characters, not {promised.max_length}")
    elif promised.type in NUMERIC_TYPES:
        if offered.lowest > promised.lowest:
            changes.append(f"its {key} has a minimum of {offered.lowest:g}, not {promised.lowest:g}")
        if offered.highest < promised.highest:
            changes.append(f"its {key} has a maximum of {offered.highest:g}, not {promised.highest:g}")
    return changes
