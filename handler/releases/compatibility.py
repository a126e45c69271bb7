"""Whether one contract keeps what another promised: every request that was valid stays valid, and is answered alike."""

from handler.scoring.contract import STRING_TYPES, Contract, DeclaredField

# Per promised type: the types that take every value it takes.
_TAKES = {
    "number": {"number", "money"},
    "money": {"number", "money"},
    "count": {"count", "number", "money"},
    "category": set(STRING_TYPES),
    "text": set(STRING_TYPES),
    "flag": {"flag"},
}


def broken_promises(promised: Contract, offered: Contract) -> list[str]:
    """What callers of the promised contract would lose under the offered one, a phrase each; empty where nothing.

    Features, units and everything else that only the model sees may differ.
    """
    found = [
        f"its {name} is {ours!r}, not {theirs!r}"
        for name, theirs, ours in (
            ("route", promised.route, offered.route),
            ("kind of answer", promised.answer, offered.answer),
            ("id", promised.id, offered.id),
        )
        if theirs != ours
    ]
    known = {field.alias or name: field for name, field in promised.fields.items()}
    taken = {field.alias or name: field for name, field in offered.fields.items()}
    for key, field in known.items():
        found += _narrowed(key, field, taken[key]) if key in taken else [f"it takes no {key}"]
    found += [f"it requires {key}" for key, field in taken.items() if field.required and key not in known]
    return found


def _narrowed(key: str, promised: DeclaredField, offered: DeclaredField) -> list[str]:
    """How a field takes less than it did."""
    if offered.type not in _TAKES[promised.type]:
        return [f"its {key} is a {offered.type}, not a {promised.type}"]
    found = []
    if offered.required and not promised.required:
        found.append(f"it requires {key}")
    if promised.type in STRING_TYPES:
        if offered.max_length < promised.max_length:
            found.append(f"its {key} has at most {offered.max_length} characters, not {promised.max_length}")
    elif promised.type != "flag":
        if offered.lowest > promised.lowest:
            found.append(f"its {key} begins at {offered.lowest:g}, not at {promised.lowest:g}")
        if offered.highest < promised.highest:
            found.append(f"its {key} ends at {offered.highest:g}, not at {promised.highest:g}")
    return found
