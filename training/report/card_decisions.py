"""The model card's words on decisions: the policy, whether its promise was kept, and what other thresholds do."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot, sqrt

from training.report.markdown import code, number, percent, percent_within, plain, span, table, target
from training.report.stage_reports import Reports, Row

# Per policy: the measure it aims at and how it is called, whether it is a floor, and what it promises.
PROMISES = {
    "recall": ("recall", "recall", True, "at least {} of the frauds are flagged"),
    "precision": ("precision", "precision", True, "at least {} of the flagged requests are fraud"),
    "review_rate": ("alert_rate", "the alert rate", False, "at most {} of all requests are flagged"),
}
# A normal variable lies within so many standard deviations 95 times in 100.
NORMAL_95 = 1.96
AIMS = {"recall": "{} of frauds flagged", "review_rate": "{} of requests flagged"}


@dataclass(frozen=True)
class Promise:
    """What the policy promised, and what became of it on the test window."""

    policy: str
    verdict: str
    is_broken: bool


def promise(reports: Reports) -> Promise:
    """The declared policy in words, and whether the test window kept it."""
    policy = dict(reports.manifest["decision"]["policy"])
    confidence = policy.pop("confidence", None)
    ((name, aim),) = policy.items()
    if name not in PROMISES:
        return Promise(
            "missed amounts and reviews cost least, on the calibration rows",
            "This policy promises no level, so there is none to keep.",
            is_broken=False,
        )
    measure, called, is_floor, words = PROMISES[name]
    sure = f", with {target(confidence)} confidence" if confidence else ""
    value, (low, high) = reports.metrics[measure], reports.intervals[measure]
    is_reached = value >= aim if is_floor else value <= aim
    is_possible = high >= aim if is_floor else low <= aim
    found = f"On the test window {called} was {percent(value)} (95 % interval {span([low, high])})"
    if is_reached:
        is_sure = low >= aim if is_floor else high <= aim
        verdict = "kept." if is_sure else "kept, though other rows of the same kind could have missed it."
    elif is_possible:
        verdict = "not reached, by no more than the chance of which rows happened to come."
    else:
        verdict = "**NOT kept.**"
    broken = not is_reached and not is_possible
    return Promise(words.format(target(aim)) + sure, f"{found}: {verdict}", is_broken=broken)


def decisions(reports: Reports) -> str:
    """The policy, its threshold, whether its promise was kept later, and what other thresholds would do."""
    headers = ["aim on the calibration rows", "threshold", "recall", "precision", "false positive rate", "alert rate"]
    costs = costs_in_words(reports)
    lines = [_threshold_line(row, has_costs=costs is not None) for row in _thresholds(reports)]
    return (
        f"## Decisions\n\n{' '.join(_about_promise(reports))}\n\nWhat thresholds chosen on the calibration rows do on "
        "the test window, with 95 % intervals:\n\n"
        f"{table('lrrrrr' + 'r' * bool(costs), [*headers, *([costs[0]] if costs else [])], lines)}\n"
    )


def _about_promise(reports: Reports) -> Iterator[str]:
    promised = promise(reports)
    policy = reports.manifest["decision"]["policy"]
    yield f"The policy: {promised.policy}. The threshold {reports.threshold:.8g} was chosen for it on calibration rows."
    yield promised.verdict
    if promised.is_broken:
        if _is_beyond_chance(reports):
            yield (
                "The chance of which rows happened to come, in either window, does not explain this. The likely reason "
                "is that the fraud, or what is legitimate, changed between the calibration window and the test window."
            )
        else:
            yield (
                "Either the fraud, or what is legitimate, changed between the calibration window and the test window, "
                "or the threshold was unlucky: it too was chosen on rows that happened to come."
            )
        if missed := _missed(reports) if "recall" in policy else "":
            yield f"Missed frauds gather in {missed}."
        yield "Until the model has learned from rows like these, expect what was found here, not what was promised."
    if "confidence" not in policy and {"recall", "precision"} & set(policy):
        yield (
            "No confidence is declared, so the threshold only just does it on the calibration rows, and would fall "
            "short about every second time even if nothing changed."
        )
    if reports.scorer.costs and "cost_of_1000" in reports.declared:
        cheapest = min(reports.thresholds, key=lambda row: (row["cost_of_1000"], row["threshold"]))
        yield (
            f"Of the thresholds below, {number(cheapest['threshold'])} costs least on the test window, which is only "
            "known afterwards."
        )


def _is_beyond_chance(reports: Reports) -> bool:
    """Whether a recall is further below its target than the frauds of both windows, few as they are, can explain."""
    aim = reports.manifest["decision"]["policy"].get("recall")
    if aim is None:
        return False
    low, high = reports.intervals["recall"]
    of_test = (high - low) / (2 * NORMAL_95)
    of_calibration = sqrt(aim * (1 - aim) / reports.rows["windows"]["calibrate"]["frauds"])
    return bool(aim - reports.metrics["recall"] > NORMAL_95 * hypot(of_test, of_calibration))


def _thresholds(reports: Reports) -> list[Row]:
    """The rows of the table of thresholds: the declared one once, though another may aim at the same."""
    declared = reports.declared
    return [row for row in reports.thresholds if row is declared or row["threshold"] != declared["threshold"]]


def _missed(reports: Reports) -> str:
    """The three segments with the most missed frauds among those whose recall is below the overall one."""
    low = [
        row for row in reports.segments if row["recall"] is not None and row["recall_high"] < reports.metrics["recall"]
    ]
    low.sort(key=lambda row: -round(row["frauds"] * (1 - row["recall"])))
    return ", ".join(
        f"{code(row['feature'])} {plain(row['segment'])} ({row['frauds'] * (1 - row['recall']):.0f} of "
        f"{row['frauds']:.0f} missed)"
        for row in low[:3]
    )


def _threshold_line(row: Row, *, has_costs: bool) -> list[str]:
    cells = [
        percent_within(row[name], row[f"{name}_low"], row[f"{name}_high"])
        for name in ("recall", "precision", "false_positive_rate", "alert_rate")
    ]
    if has_costs:
        low, high = number(row["cost_of_1000_low"]), number(row["cost_of_1000_high"])
        cells.append(f"{number(row['cost_of_1000'])} ({low} to {high})")
    return [_aim(row["aim"]), number(row["threshold"]), *cells]


def _aim(aim: str) -> str:
    """An operating point's aim in words."""
    name, _, share = aim.partition(" ")
    if aim == "declared":
        return "**the declared policy**"
    return AIMS[name].format(target(float(share))) if name in AIMS and share else plain(aim)


def costs_in_words(reports: Reports) -> tuple[str, str] | None:
    """What the column of costs is called and what it means, where costs are declared."""
    costs = reports.scorer.costs
    if costs is None or "cost_of_1000" not in reports.metrics:
        return None
    field = reports.contract.fields.get(costs.amount)
    unit = plain(field.unit) if field and field.unit else f"the unit of {code(costs.amount)}"
    meaning = f"a missed fraud costs its {code(costs.amount)}, an alert costs {number(costs.review)}"
    return f"cost of 1,000 requests, {unit}", meaning
