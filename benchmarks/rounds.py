"""The order of the subjects in a round."""

from collections.abc import Iterable


def in_turn(names: Iterable[str], turn: int) -> list[str]:
    """The names, in odd rounds from the back, so that none always comes after the same other."""
    ordered = list(names)
    return ordered[::-1] if turn % 2 else ordered
