"""The facts of a scorer's model card, ready to print, and the card that the template model_card.md.j2 makes of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from handler.scoring.contract import DerivedFeature
from handler.scoring.features import feature_names
from handler.scoring.scorer import N_REASONS
from training.monotone import monotone_signs
from training.params import COST_PARTS, Resampling
from training.report.card_reports import Reports, Row
from training.report.html import Section
from training.report.markdown import code, escaped, number, percent, percent_within, plain, target

Facts = dict[str, Any]

TEMPLATE = Path(__file__).with_name("model_card.md.j2")
# Markdown is not HTML: the facts are escaped where they are prepared, and the page shows raw HTML as text.
ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATE.parent),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 - see above
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
# A line break inside a paragraph or a list entry: neither a table row, a list entry nor a heading follows it.
BREAK = re.compile(r"(?<=[^\n]) *+\n *+(?![\n|#]|- |$)")
FIGURES = re.compile(r"\n<!-- figures: (.+) -->\n")

LONGEST_WARNING = 400
MOST_FEATURES = 25
MOST_SEGMENTS = 20
MOST_NAMED = 3
# The share of 95 % intervals that lie to one side by chance.
BY_CHANCE = 0.05
# Slopes of the calibration this close to 1 are called about one.
STEEP = 0.05
# A normal variable lies within this many standard deviations 95 times in 100.
NORMAL_95 = 1.96
RATES = ("recall", "precision", "false_positive_rate", "alert_rate")
# Measures that are shown in per cent.
SHARES = {*RATES, "recall_at_1pct_fpr", *(f"{rate}_without_history" for rate in RATES)}
ENTITY_PRECISION = "entity_precision_at_"
# For each policy that promises a level: its measure, and 1 if the level is a floor, -1 if it is a ceiling.
PROMISES = {"recall": ("recall", 1), "precision": ("precision", 1), "review_rate": ("alert_rate", -1)}


@dataclass(frozen=True)
class ModelCard:
    """A model card: its sections in order, and its sentence on whether the policy's promise was kept."""

    sections: Sequence[Section]
    verdict: str

    @property
    def markdown(self) -> str:
        """The whole card without its figures."""
        return "\n".join(section.text for section in self.sections)


def model_card(reports: Reports) -> ModelCard:
    """The card of the scorer that the reports are about."""
    module = ENVIRONMENT.get_template(TEMPLATE.name).make_module(facts(reports))
    parts = re.split(r"\n(?=## )", BREAK.sub(" ", str(module)))
    return ModelCard([_section(part) for part in parts], BREAK.sub(" ", vars(module)["verdict"]))


def _section(text: str) -> Section:
    """One part of the card, with the figures that a comment at its end names."""
    figures = FIGURES.search(text)
    return Section(FIGURES.sub("", text), figures[1].split(", ") if figures else ())


def facts(reports: Reports) -> Facts:
    """Everything that the template may print or decide by; texts from declarations and data are escaped."""
    return {
        **_head(reports),
        **_rows(reports),
        **_training(reports),
        **_features(reports),
        **_comparisons(reports),
        **_measures(reports),
        **_promise(reports),
        **_thresholds(reports),
        **_calibration(reports),
        **_segments(reports),
    }


def _head(reports: Reports) -> Facts:
    return {
        "title": plain(reports.name),
        "name": reports.name,
        "version": reports.manifest["version"],
        "judged_by": reports.manifest["windows"].get("refit", {}).get("judged_by"),
        "route": reports.contract.route,
        "answer": reports.contract.answer,
        "label": code(reports.scorer.label),
        "threshold": f"{reports.threshold:.8g}",
        "wrong_share": percent(1 - reports.metrics["precision"]),
        "seed": reports.scorer.seed,
        "has_score": "score" in reports.manifest["decision"],
        "control": _control(reports),
        "n_reasons": N_REASONS,
        "customer_reasons": [
            {"feature": code(name), "code": plain(reason.code), "text": plain(reason.text, longest=LONGEST_WARNING)}
            for name, reason in reports.contract.customer_reasons.items()
        ],
        "changeable": ", ".join(code(name) for name, field in reports.contract.fields.items() if field.changeable),
        "libraries": ", ".join(f"{name} {version}" for name, version in reports.manifest["libraries"].items()),
    }


def card_content(reports: Reports) -> dict[str, Any]:
    """The card for programs: the content of the bundle's manifest, and the rows of the card's tables."""
    manifest = {key: value for key, value in reports.manifest.items() if key not in {"files", "format"}}
    return {
        **manifest,
        "purpose": "detecting fraud in single requests; never eligibility, prices, credit, insurance or work",
        "customer_reasons": {name: r.model_dump() for name, r in reports.contract.customer_reasons.items()},
        "changeable": [name for name, field in reports.contract.fields.items() if field.changeable],
        "training": reports.training,
        "segments": reports.segments,
        "warnings": reports.rows.get("warnings", []),
    }


def _control(reports: Reports) -> Facts | None:
    """How many of 1,000 requests of the test window the control group lets through; None without a control group."""
    if (control := reports.manifest["decision"].get("control")) is None:
        return None
    share = control["share"]
    blocked = next(row for row in reports.thresholds if row["aim"] == "block")
    amount = blocked.get("caught_amount_of_1000")
    return {
        "share": target(share),
        "of_1000": number(1000 * blocked["alert_rate"] * share),
        "amount_of_1000": None if amount is None else number(amount * share),
    }


def _rows(reports: Reports) -> Facts:
    """The rows on which the model was trained and judged."""
    rows, split = reports.rows, reports.scorer.split
    windows, quarantined = rows["windows"], rows["quarantined"]
    test = windows["test"]
    n_used = sum(window["rows"] for window in windows.values())
    warnings = [plain(warning, longest=LONGEST_WARNING).rstrip(".") for warning in rows.get("warnings", ())]
    return {
        "windows": [
            {
                "name": name,
                "start": window["from"][:16].replace("T", " "),
                "end": window["to"][:16].replace("T", " "),
                "rows": f"{window['rows']:,}",
                "frauds": f"{window['frauds']:,}",
                "fraud_rate": percent(window["fraud_rate"]),
            }
            for name, window in reports.manifest["windows"].items()
        ],
        "has_calibration_window": split.has_calibration_window,
        "file": plain(reports.scorer.data),
        "n_rows": f"{rows['rows']:,}",
        "sample": target(split.sample) if split.sample < 1 else None,
        "n_quarantined": f"{quarantined['rows']:,}" if quarantined["rows"] else None,
        "quarantine_reasons": "; ".join(
            f"{plain(reason)} ({count:,})" for reason, count in quarantined["reasons"].items()
        ),
        "has_dates": "T" in test["from"],
        "label_delay_days": f"{split.label_delay_days:g}" if split.label_delay_days else None,
        "n_between_windows": f"{rows['rows'] - quarantined['rows'] - n_used:,}",
        "warnings": " ".join(f"{warning}." for warning in warnings),
        "test_start": test["from"][:10],
        "test_end": test["to"][:10],
    }


def _training(reports: Reports) -> Facts:
    """What the trees learned from, and their parameters grouped by origin."""
    resampling, model = Resampling.model_validate(reports.training["resampling"]), reports.training["model"]
    searched = reports.tuning["searched"] if reports.tuning else ()
    settings: dict[str, list[str]] = {}
    for name, value in model.items():
        if name in reports.scorer.model.pinned:
            origin = "pinned"
        elif name in searched:
            origin = "searched"
        elif name == "rounds":
            origin = "stopped"
        else:
            origin = "default" if reports.tuning else "not pinned"
        settings.setdefault(origin, []).append(f"`{name}` {value}")
    return {
        "n_trees": f"{model['rounds']:,}",
        "n_learned_from": f"{reports.training['rows_learned_from']:,}",
        "resampling": {
            "method": resampling.method if resampling.ratio else "none",
            "ratio": f"{resampling.ratio:g}",
        },
        "parameters": [{"origin": origin, "settings": ", ".join(listed)} for origin, listed in settings.items()],
        "texts": [
            {
                "name": code(text),
                "answered": percent(learned["answered"]),
                "accuracy": percent(learned["accuracy_answered"]),
            }
            for text, learned in reports.training["texts"].items()
        ],
    }


def _features(reports: Reports) -> Facts:
    """The features, those used most first, and the names of the most important ones."""
    names = feature_names(reports.contract)
    signs = dict(zip(names, monotone_signs(reports.contract), strict=True))
    kinds = _kinds_and_units(reports)
    n_more = len(reports.importance) - MOST_FEATURES
    by_loss = sorted(reports.importance, key=lambda row: -row["permutation"])
    return {
        "n_features": len(names),
        "features": [
            {
                "name": code(row["feature"]),
                "kind": kinds.get(row["feature"], ("", ""))[0],
                "unit": kinds.get(row["feature"], ("", ""))[1],
                "monotone": signs.get(row["feature"], 0),
                "gain": percent(row["gain"]),
                "lost": f"{number(row['permutation'])} ± {number(row['permutation_std'])}",
            }
            for row in reports.importance[:MOST_FEATURES]
        ],
        "n_more_features": f"{n_more:,}" if n_more > 0 else None,
        "most_gain": ", ".join(code(row["feature"]) for row in reports.importance[:MOST_NAMED]),
        "most_lost": ", ".join(code(row["feature"]) for row in by_loss[:MOST_NAMED]),
    }


def _kinds_and_units(reports: Reports) -> dict[str, tuple[str, str]]:
    """By feature, what kind of value it is, and its unit."""
    kinds = {}
    for name, field in reports.contract.columns.items():
        kind = f"category learned from the text of {code(name)}" if field.categories else field.type
        kind, unit = ("age of a date", "days") if field.type == "date" else (kind, field.unit)
        if name not in reports.contract.fields:
            kind = "computed from the history"
        elif reports.contract.history and name in reports.contract.history.features:
            kind = f"{kind}; if missing, computed from the history"
        kinds[field.categories or name] = kind, plain(unit) if unit else ""
    for name, derived in reports.contract.features.items():
        kinds[name] = _derived_kind(derived), plain(derived.unit) if derived.unit else ""
    return kinds


def _derived_kind(derived: DerivedFeature) -> str:
    """What a derived feature is computed from, and how."""
    if derived.time:
        return f"{'hour of the day' if derived.hour_of_day else 'day of the week'} of {code(derived.time)} in UTC"
    left, right = map(code, derived.operands)
    return f"{left} {'divided by' if derived.ratio else 'times'} {right}"


def _comparisons(reports: Reports) -> Facts:
    """The verdicts of the comparisons; None for one that was not made."""
    comparisons = {"resampling": reports.resampling, "selection": reports.selection, "tuning": reports.tuning}
    return {
        "n_folds": _n_folds(reports),
        "has_comparison": any(comparisons.values()),
        "verdicts": {
            name: escaped(report["verdict"]).replace("+-", "±") if report else None
            for name, report in comparisons.items()
        },
        "is_resampling_automatic": bool(reports.resampling and reports.resampling["is_automatic"]),
        "is_resampling_doubtful": _is_resampling_doubtful(reports.resampling),
    }


def _n_folds(reports: Reports) -> int:
    """How many folds there were; rows with few distinct times give fewer than are declared."""
    if not reports.selection:
        return reports.scorer.folds.count
    return len(next(iter(reports.selection["candidates"].values()))["average_precision"]["folds"])


def _is_resampling_doubtful(report: Facts | None) -> bool:
    """Whether another way to rebalance is better than the declared one by more than chance."""
    if report is None or report["is_automatic"]:
        return False
    return any(variant["average_precision"]["interval"][0] > 0 for variant in report["variants"].values())


def _measures(reports: Reports) -> Facts:
    """The measures on the test window with their intervals, and what costs mean."""
    metrics, rate = reports.metrics, reports.metrics["fraud_rate"]
    value, interval = {}, {}
    for name, bounds in reports.intervals.items():
        shown = percent if name in SHARES or name.startswith(ENTITY_PRECISION) else number
        value[name], interval[name] = shown(metrics[name]), " to ".join(map(shown, bounds))
    tops = [name for name in value if name.startswith(ENTITY_PRECISION)]
    return {
        "n_test_rows": f"{metrics['rows']:,}",
        "n_test_frauds": f"{metrics['frauds']:,}",
        "value": value,
        "interval": interval,
        "guessed": {"average_precision": number(rate), "brier_score": number(rate * (1 - rate))},
        "entity": code(reports.scorer.entity) if reports.scorer.entity else "",
        "weight": code(reports.scorer.split.weight) if reports.scorer.split.weight else "",
        "top_entities": [
            {"top": name.removeprefix(ENTITY_PRECISION), "value": value[name], "interval": interval[name]}
            for name in tops
        ],
        "costs": _costs(reports),
    }


def _costs(reports: Reports) -> Facts | None:
    """What decisions cost, and what the declared one cost on the test window, in its parts."""
    costs = reports.scorer.costs
    if costs is None or "cost_of_1000" not in reports.metrics:
        return None
    field, declared = reports.contract.fields.get(costs.amount), reports.declared
    amount = code(costs.amount)
    insult = [
        *([number(costs.insult.flat)] if costs.insult and costs.insult.flat else []),
        *([f"{target(costs.insult.share)} of its {amount}"] if costs.insult and costs.insult.share else []),
    ]
    return {
        "unit": plain(field.unit) if field and field.unit else f"the unit of {amount}",
        "amount": amount,
        "review": number(costs.review),
        "insult": " and ".join(insult) or None,
        "recovered": target(costs.recovered) if costs.recovered < 1 else None,
        "capacity": number(costs.capacity) if costs.capacity else None,
        "is_beyond_capacity": bool(costs.capacity and declared["reviews_a_day"] > costs.capacity),
        "reviews_a_day": number(declared["reviews_a_day"]),
        "total": number(declared["cost_of_1000"]),
        **{part: number(declared[part]) for part in COST_PARTS},
    }


def _promise(reports: Reports) -> Facts:
    """What the policy promised, what became of it on the test window, and what may explain it."""
    policy = reports.manifest["decision"]["policy"]
    confidence = policy.get("confidence")
    (aim,) = policy.keys() - {"confidence"}
    promise = {"aim": aim, "confidence": target(confidence) if confidence else None, "outcome": "no promise"}
    if aim in PROMISES:
        measure, sign = PROMISES[aim]
        value, interval = reports.metrics[measure], reports.intervals[measure]
        promise |= {
            "level": target(policy[aim]),
            "value": percent(value),
            "interval": " to ".join(map(percent, interval)),
            "outcome": _outcome(sign * policy[aim], sign * value, [sign * bound for bound in interval]),
        }
    return {
        "promise": promise,
        "lacks_confidence": aim in {"recall", "precision"} and not confidence,
        "overstates_confidence": bool(confidence and (reports.scorer.entity or reports.scorer.split.weight)),
        "is_beyond_chance": aim == "recall" and _is_beyond_chance(reports, policy["recall"]),
        "missed": _missed(reports) if aim == "recall" else None,
    }


def _outcome(floor: float, value: float, interval: Sequence[float]) -> str:
    """Whether a value reached a floor, and whether its interval leaves that open."""
    if value >= floor:
        return "kept" if min(interval) >= floor else "barely kept"
    return "barely missed" if max(interval) >= floor else "broken"


def _is_beyond_chance(reports: Reports, aim: float) -> bool:
    """Whether recall is further below its target than the frauds of both windows, few as they are, can explain."""
    low, high = reports.intervals["recall"]
    of_test = (high - low) / (2 * NORMAL_95)
    of_calibration = sqrt(aim * (1 - aim) / reports.manifest["windows"]["calibrate"]["frauds"])
    return bool(aim - reports.metrics["recall"] > NORMAL_95 * hypot(of_test, of_calibration))


def _missed(reports: Reports) -> str:
    """The segments with the most missed frauds among those whose recall is significantly below the overall one."""
    low = [row for row in reports.segments if row["recall"] is not None and "recall below" in _marks(row, reports)]
    low.sort(key=lambda row: -round(row["frauds"] * (1 - row["recall"])))
    return ", ".join(
        f"{code(row['feature'])} {plain(row['segment'])} "
        f"({row['frauds'] * (1 - row['recall']):.0f} of {row['frauds']:.0f} missed)"
        for row in low[:MOST_NAMED]
    )


def _thresholds(reports: Reports) -> Facts:
    """What thresholds do on the test window; the declared one once, though another aim may lead to it too."""
    declared = reports.declared
    cheapest = None
    if reports.scorer.costs and "cost_of_1000" in declared:
        cheapest = min(reports.thresholds, key=lambda row: (row["cost_of_1000"], row["threshold"]))
    return {
        "thresholds": [
            _threshold(row)
            for row in reports.thresholds
            if row is declared or row["aim"] == "block" or row["threshold"] != declared["threshold"]
        ],
        "cheapest": number(cheapest["threshold"]) if cheapest else None,
        "block": _block(reports),
    }


def _block(reports: Reports) -> Facts | None:
    """The blocking threshold, its policy, and what it does on the test window; None if nothing is blocked."""
    block = reports.manifest["decision"].get("block")
    if block is None:
        return None
    row = next(row for row in reports.thresholds if row["aim"] == "block")
    (aim,) = block["policy"].keys() - {"confidence"}
    level, confidence = block["policy"][aim], block["policy"].get("confidence")
    return {
        **_threshold(row),
        "threshold": f"{block['threshold']:.8g}",
        "aim": aim,
        "level": target(level) if aim != "cost" else None,
        "confidence": target(confidence) if confidence else None,
    }


def _threshold(row: Row) -> Facts:
    aim, _, level = row["aim"].partition(" ")
    facts = {"aim": aim, "level": target(float(level)) if level else None, "threshold": number(row["threshold"])}
    facts |= {name: _within(row, name) for name in RATES}
    if "cost_of_1000" in row:
        low, high = number(row["cost_of_1000_low"]), number(row["cost_of_1000_high"])
        facts |= {"cost": f"{number(row['cost_of_1000'])} ({low} to {high})", "reviews": number(row["reviews_a_day"])}
    return facts


def _within(row: Row, name: str) -> str:
    return percent_within(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _calibration(reports: Reports) -> Facts:
    """What calibration did to the probabilities, and how close they came on later rows."""
    slope, intercept = reports.manifest["calibration"]["slope"], reports.manifest["calibration"]["intercept"]
    steepness = "low" if slope < 1 - STEEP else "high" if slope > 1 + STEEP else "right"
    return {
        "slope": number(slope),
        "intercept": number(intercept),
        "steepness": steepness,
        "error_after": number(100 * reports.metrics["expected_calibration_error"]),
        "error_before": number(100 * reports.metrics["expected_calibration_error_uncalibrated"]),
        "n_predicted_frauds": number(sum(row["predicted"] * row["rows"] for row in reports.reliability)),
    }


def _segments(reports: Reports) -> Facts:
    """The categories in the report's order; if there are too many to show, first those that differ from the whole."""
    audited = reports.scorer.contract.audited
    marked = [(row, _marks(row, reports)) for row in reports.segments if row["feature"] not in audited]
    kept = sorted(range(len(marked)), key=lambda place: _urgency(*marked[place]))[:MOST_SEGMENTS]
    n_intervals = sum(row[name] is not None for row, _ in marked for name in ("recall", "false_positive_rate"))
    return {
        "segments": [_segment(*marked[place]) for place in sorted(kept)],
        "n_segments": f"{len(marked):,}",
        "n_marked": f"{sum(bool(marks) for _, marks in marked):,}",
        "n_intervals": f"{n_intervals:,}",
        "n_by_chance": f"{n_intervals * BY_CHANCE:.0f}",
        "is_cut": len(marked) > MOST_SEGMENTS,
        "audited": ", ".join(map(code, audited)),
        "groups": [_group(row, reports) for row in reports.segments if row["feature"] in audited],
    }


def _marks(row: Row, reports: Reports) -> list[str]:
    """In which ways a segment differs from the whole by more than chance."""
    words = {
        "recall": ("recall below", "recall above"),
        "false_positive_rate": ("fewer false alarms", "more false alarms"),
    }
    marks = []
    for name, (below, above) in words.items():
        if row[name] is not None and row[f"{name}_high"] < reports.metrics[name]:
            marks.append(below)
        if row[name] is not None and row[f"{name}_low"] > reports.metrics[name]:
            marks.append(above)
    return marks


def _urgency(row: Row, marks: Sequence[str]) -> tuple[bool, bool, bool, float]:
    """Segments that miss frauds first, then those with false alarms, then others that are marked, then the largest."""
    return "recall below" not in marks, "more false alarms" not in marks, not marks, -row["rows"]


def _group(row: Row, reports: Reports) -> Facts:
    """A group that the model does not know; `ratio` compares its false positive rate with that of all others."""
    ratio = row["false_positive_ratio"]
    bounds = [row[f"false_positive_ratio_{end}"] for end in ("low", "high")]
    return _segment(row, _marks(row, reports)) | {
        "ratio": None if ratio is None else f"{ratio:.2f} ({bounds[0]:.2f} to {bounds[1]:.2f})",
        "is_above": bool(ratio) and bounds[0] > 1,
    }


def _segment(row: Row, marks: Sequence[str]) -> Facts:
    return {
        "feature": code(row["feature"]),
        "category": plain(row["segment"]),
        "rows": f"{row['rows']:,.0f}",
        "frauds": f"{row['frauds']:,.0f}",
        "fraud_rate": percent(row["fraud_rate"]),
        "predicted": percent(row["predicted_rate"]),
        "recall": None if row["recall"] is None else _within(row, "recall"),
        "false_positive_rate": None if row["false_positive_rate"] is None else _within(row, "false_positive_rate"),
        "marks": ", ".join(marks),
    }
