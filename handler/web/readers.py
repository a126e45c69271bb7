"""Answers for readers other than the analyst: the customer, who is told no numbers, and the auditor, who wants all.

Imported by requests that ask for one alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from handler.scoring.scorer import N_REASONS, Answered, Scorer

# They have values, which tell how to pass or what is known of others, and the analyst's own words.
_FOR_ANALYSTS = ("base_log_odds", "list", "warnings")


def for_customers(scorer: Scorer, answered: Answered) -> list[dict[str, Any]]:
    """The answers, of whose reasons is left what is declared for customers: a code and a text of each.

    Where a list decided there are none: those of the model would not be why.
    """
    addressed = []
    for scored, answer in zip(answered.scored, answered.answers, strict=True):
        kept = {key: value for key, value in answer.items() if key not in _FOR_ANALYSTS}
        if "reasons" in kept:
            kept["reasons"] = [] if "list" in answer else customer_reasons(scorer, scored.contributions or ())
        addressed.append(kept)
    return addressed


def for_auditors(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers, of whose reasons, those of all features, is left what can be computed again: no sentences."""
    return [
        {
            **answer,
            "reasons": [
                {key: value for key, value in reason.items() if key != "sentence"} for reason in answer["reasons"]
            ],
        }
        for answer in answers
    ]


def customer_reasons(scorer: Scorer, contributions: Sequence[float]) -> list[dict[str, str]]:
    """Code and text of at most N_REASONS features that raise the risk most, among those with a reason for customers."""
    names, reasons = scorer.bundle.features.names, scorer.contract.customer_reasons
    raising = sorted(
        (place for place, share in enumerate(contributions) if share > 0 and names[place] in reasons),
        key=lambda place: -contributions[place],
    )
    return [reasons[names[place]].model_dump() for place in raising[:N_REASONS]]
