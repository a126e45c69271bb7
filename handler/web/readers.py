"""Answers for other readers than the analyst: reasons without numbers for customers, all contributions for auditors.

Imported only by requests that ask for one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from handler.scoring.scorer import N_REASONS, Answered, Scorer

# Keys with values that show how to pass or what is known about others, or with the analyst's own words.
_FOR_ANALYSTS = ("base_log_odds", "list", "warnings")


def for_customers(scorer: Scorer, answered: Answered) -> list[dict[str, Any]]:
    """The answers, with only those reasons that are declared for customers: a code and a text each.

    If a list decided there are none, because the model's reasons would not explain the decision.
    """
    addressed = []
    for scored, answer in zip(answered.scored, answered.answers, strict=True):
        kept = {key: value for key, value in answer.items() if key not in _FOR_ANALYSTS}
        if "reasons" in kept:
            kept["reasons"] = [] if "list" in answer else customer_reasons(scorer, scored.contributions or ())
        addressed.append(kept)
    return addressed


def for_auditors(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers for auditors: reasons for all features, without sentences; all that is left can be computed again."""
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
    """The customers' reasons, N_REASONS at most: code and text of the features with one that raise the risk most."""
    names, reasons = scorer.bundle.features.names, scorer.contract.customer_reasons
    raising = sorted(
        (place for place, share in enumerate(contributions) if share > 0 and names[place] in reasons),
        key=lambda place: -contributions[place],
    )
    return [reasons[names[place]].model_dump() for place in raising[:N_REASONS]]
