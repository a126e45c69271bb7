"""The monitor's report as one HTML page."""

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from training.data.times import day_text
from training.report.axes import BLUE, GREY, ORANGE, blank_axes
from training.report.html import Picture, Section, page
from training.report.markdown import number, percent, plain, table
from training.report.monitor_report import GroupRates, JudgedBlock, MonitorReport

SAYS = {
    "ok": "Nothing needs to be done.",
    "watch": "Look into the reasons below.",
    "retrain": "Retrain the model.",
    "insufficient": "The log is not enough for a verdict.",
}
# As many features as a reader can tell apart in one picture.
DRAWN = 6
PSI_MARK = 0.1


def monitor_page(report: MonitorReport) -> str:
    """The whole page, self-contained."""
    blocks = report.blocks
    sections = [
        Section(_head(report), ("performance", "alerts") if blocks else ()),
        Section(_drift(blocks), ("drift",) if blocks else ()),
        Section(_blocks(blocks)),
        *([Section(_groups(report.groups))] if report.groups else []),
        Section(_counts(report.counts)),
    ]
    return page(f"Monitor: {report.scorer}", sections, _pictures(blocks))


def _head(report: MonitorReport) -> str:
    reasons = "".join(f"- {plain(sentence, longest=200)}\n" for sentence in (*report.reasons, *report.notes))
    return (
        f"# {plain(report.scorer)}: {report.state}\n\n{SAYS[report.state]} Compared with version "
        f"`{report.baseline}`.\n\n{reasons}"
    )


def _blocks(blocks: Sequence[JudgedBlock]) -> str:
    has_bands = any(block.block_rate is not None for block in blocks)
    headers = [
        "from (UTC)",
        "verdict",
        "predictions",
        "flagged",
        *(["blocked"] if has_bands else []),
        "known frauds",
        "recall",
        "recall by the scores",
        "precision",
    ]
    rows = []
    for block in blocks:
        measured = block.measured
        rows.append(
            [
                day_text(block.begins),
                block.verdict,
                f"{block.predictions:,}",
                percent(block.alert_rate),
                *([_share(block.block_rate)] if has_bands else []),
                f"{measured.frauds:,}",
                _share(measured.recall),
                percent(block.estimated.recall),
                _share(measured.precision),
            ]
        )
    reasons = [
        f"- {day_text(block.begins)}: {plain('; '.join(block.reasons), longest=400)}"
        for block in blocks
        if block.reasons
    ]
    return (
        "## Block by block\n\n"
        + table("ll" + "r" * (len(headers) - 2), headers, rows)
        + "\n\n"
        + "\n".join(reasons)
        + "\n"
    )


def _groups(groups: Sequence[GroupRates]) -> str:
    rows = []
    for rates in groups:
        low, high = rates.false_positive_interval
        rows.append(
            [
                plain(rates.field),
                plain(rates.group),
                f"{rates.predictions:,}",
                percent(rates.alert_rate),
                f"{rates.legitimate:,}",
                "unknown"
                if rates.false_positive_rate is None
                else f"{percent(rates.false_positive_rate)} ({percent(low)} to {percent(high)})",
                "unknown"
                if rates.ratio is None or rates.ratio_interval is None
                else f"{rates.ratio:.2f} ({rates.ratio_interval[0]:.2f} to {rates.ratio_interval[1]:.2f})",
            ]
        )
    headers = ["field", "group", "predictions", "flagged", "known legitimate", "of these flagged", "ratio to others"]
    return (
        "## Groups that the model does not know\n\nIn the whole log. The last column is the share of legitimate "
        "requests that is flagged, divided by that of all others; 1 is parity.\n\n"
        + table("llrrrrr", headers, rows)
        + "\n"
    )


def _drift(blocks: Sequence[JudgedBlock]) -> str:
    if not blocks:
        return "## Drift\n\nThere is no prediction in this window.\n"
    latest = blocks[-1].features
    rows = [
        [
            plain(name),
            number(shift.psi),
            f"{shift.p_value:.2g}",
            percent(shift.missing),
            percent(shift.baseline_missing),
        ]
        for name, shift in sorted(latest.items(), key=lambda item: -item[1].psi)
    ]
    headers = ["feature, latest block", "PSI", "p, corrected", "missing", "in training"]
    return "## Drift\n\n" + table("lrrrr", headers, rows) + "\n"


def _counts(counts: dict[str, int]) -> str:
    rows = [[plain(name), f"{count:,}"] for name, count in counts.items()]
    return "## What was read\n\n" + table("lr", ["lines", "count"], rows) + "\n"


def _share(value: float | None) -> str:
    return "unknown" if value is None else percent(value)


def _pictures(blocks: Sequence[JudgedBlock]) -> dict[str, Picture]:
    if not blocks:
        return {}
    return {
        "performance": Picture(
            "Recall: measured with its 95 % interval, and estimated from the scores alone (dashed)",
            "One point per block; the dotted line is the value when the threshold was chosen.",
            partial(_performance, blocks),
        ),
        "alerts": Picture(
            "Share of requests that are flagged",
            "One point per block; the dotted line is the value when the threshold was chosen.",
            partial(_alerts, blocks),
        ),
        "drift": Picture(
            "Distance from training (PSI), the features that drifted most",
            f"One line per feature; the dotted line is {PSI_MARK}, the usual threshold of drift.",
            partial(_distances, blocks),
        ),
    }


def _performance(blocks: Sequence[JudgedBlock]) -> Figure:
    figure, axes = blank_axes()
    recalls = {
        place: (block.measured.recall, *block.measured.recall_interval)
        for place, block in enumerate(blocks)
        if block.measured.recall is not None
    }
    if recalls:
        bars = [
            [recall - low for recall, low, _ in recalls.values()],
            [high - recall for recall, _, high in recalls.values()],
        ]
        heights = [recall for recall, _, _ in recalls.values()]
        axes.errorbar(list(recalls), heights, yerr=bars, color=BLUE, marker="o", elinewidth=0.8)
    axes.plot([block.estimated.recall for block in blocks], color=ORANGE, linestyle="--")
    axes.axhline(blocks[0].baseline_recall, color=GREY, linestyle=":")
    axes.set(ylim=(0, 1.02), xlabel="block", ylabel="recall")
    return figure


def _alerts(blocks: Sequence[JudgedBlock]) -> Figure:
    figure, axes = blank_axes()
    axes.plot([100 * block.alert_rate for block in blocks], color=BLUE, marker="o")
    axes.axhline(100 * blocks[0].baseline_alert_rate, color=GREY, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.set(xlabel="block", ylabel="flagged, %")
    return figure


def _distances(blocks: Sequence[JudgedBlock]) -> Figure:
    figure, axes = blank_axes()
    highest: dict[str, float] = {}
    for block in blocks:
        for name, shift in block.features.items():
            highest[name] = max(highest.get(name, 0.0), shift.psi)
    for place, name in enumerate(sorted(highest, key=lambda name: -highest[name])[:DRAWN]):
        values = [block.features[name].psi if name in block.features else float("nan") for block in blocks]
        axes.plot(values, color=BLUE if place % 2 == 0 else ORANGE, linestyle=("-", "-", "--", "--", ":", ":")[place])
        # The names of features that hardly drift would only cover each other.
        if max(values[-1], highest[name]) >= PSI_MARK / 2:
            axes.annotate(name, (len(values) - 1, values[-1]), fontsize=6, ha="right", va="bottom")
    axes.axhline(PSI_MARK, color=GREY, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.set(xlabel="block", ylabel="PSI")
    return figure
