"""The card of a release: what it is for, who built and approved it, what it replaced, and what changed with it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.report.html import Section, page
from training.report.markdown import number, plain, table
from training.report.record import ReportRecord

METRICS = ("average_precision", "roc_auc", "recall", "precision", "false_positive_rate", "alert_rate", "brier_score")
PURPOSE = (
    "to detect fraud in single requests; not to decide who may be a customer, what somebody pays, or whether somebody "
    "gets credit, insurance or work"
)


class Measured(ReportRecord):
    """A metric on the test window, with its 95 % interval if there is one, and the predecessor's value."""

    value: float
    interval: tuple[float, float] | None
    before: float | None


class Approval(ReportRecord):
    """The pointer update that put the version into production."""

    at: str
    by: str
    forced: str | None
    """The reason given for overruling the gate; None if it was not overruled."""
    objections: tuple[str, ...]
    doubts: tuple[str, ...]


class ReleaseCard(ReportRecord):
    """Everything that the card says."""

    scorer: str
    version: str
    role: str
    """current, previous, shadow, or "" for none."""
    purpose: str
    owner: str | None
    built_by: str
    built_at: str
    commit: str | None
    libraries: dict[str, str]
    """The libraries that it was computed with; empty for releases that did not record them."""
    signatures: int
    """The number of keys that signed it."""
    approval: Approval | None
    predecessor: str | None
    """The version that it replaced."""
    changes: tuple[str, ...]
    """What differs from the predecessor."""
    windows: dict[str, Any]
    metrics: dict[str, Measured]
    customer_reasons: dict[str, dict[str, str]]
    changeable: tuple[str, ...]
    audited: tuple[str, ...]


def measured_metrics(manifest: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Measured]:
    """The metrics of a release, for its card, with those of its predecessor's manifest."""
    return {
        name: Measured(
            value=manifest["metrics"][name],
            interval=tuple(manifest["intervals"][name]) if name in manifest["intervals"] else None,
            before=before["metrics"].get(name) if before else None,
        )
        for name in METRICS
        if name in manifest["metrics"]
    }


def release_page(card: ReleaseCard) -> tuple[str, str]:
    """The card as Markdown, and as a self-contained page."""
    text = "\n".join(_lines(card))
    return text, page(f"Release card: {card.scorer} {card.version}", [Section(text, ())], {})


def _lines(card: ReleaseCard) -> Iterator[str]:
    role = f", now the {card.role} version" if card.role else ""
    yield f"# Release card: {plain(card.scorer)} `{card.version}`{role}\n"
    rows = [
        ["purpose", card.purpose],
        ["owner", card.owner or "not declared (owner, in params.yaml)"],
        ["built", f"{card.built_at}, by {card.built_by}, from {card.commit or 'an unknown commit'}"],
        ["computed with", ", ".join(f"{name} {version}" for name, version in card.libraries.items()) or "not recorded"],
        ["signed", f"by {card.signatures} key{'' if card.signatures == 1 else 's'}" if card.signatures else "no"],
        ["approved", f"{card.approval.at}, by {card.approval.by}" if card.approval else "never in production"],
        ["predecessor", card.predecessor or "none"],
        ["groups compared, not known to the model", ", ".join(card.audited) or "none"],
    ]
    yield table("ll", ["", ""], [[name, plain(text, longest=400)] for name, text in rows]) + "\n"
    if card.approval:
        yield from _gate(card.approval)
    yield "## What changed\n"
    yield "\n".join(f"- {plain(change, longest=600)}" for change in card.changes) or _nothing(card)
    yield "\n## How good it is\n"
    yield "On its test window, with 95 % intervals; the predecessor's values are from its own test window.\n"
    headers = ["metric", "value", "interval", "predecessor"]
    yield table("lrrr", headers, [_row(name, metric) for name, metric in card.metrics.items()]) + "\n"
    yield "## What a person is told\n"
    yield "\n".join(_told(card))


def _gate(approval: Approval) -> Iterator[str]:
    if approval.forced:
        yield f"**The update was forced, with this reason: {plain(approval.forced, longest=400)}.**\n"
    for what, sentences in (("objected", approval.objections), ("could not tell", approval.doubts)):
        for sentence in sentences:
            yield f"- the gate {what}: {plain(sentence, longest=600)}"
    if approval.objections or approval.doubts:
        yield ""


def _nothing(card: ReleaseCard) -> str:
    return "Nothing but the model itself, as far as is known." if card.predecessor else "It has no predecessor."


def _row(name: str, metric: Measured) -> Sequence[str]:
    return [
        name.replace("_", " "),
        number(metric.value),
        " to ".join(map(number, metric.interval)) if metric.interval else "",
        "" if metric.before is None else number(metric.before),
    ]


def _told(card: ReleaseCard) -> Iterator[str]:
    for feature, reason in card.customer_reasons.items():
        yield f"- {reason['code']}, of {plain(feature)}: {plain(reason['text'], longest=400)}"
    if not card.customer_reasons:
        yield "- No reasons for customers are declared."
    yield (
        f"- Which smallest change of {', '.join(card.changeable)} would have led to another answer, if they ask."
        if card.changeable
        else "- Nobody can ask which other values would have led to another answer: no field is changeable."
    )
