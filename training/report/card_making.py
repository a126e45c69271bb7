"""The model card's words on how a model was made: features, rebalancing, parameters, and what was compared."""

from collections.abc import Iterator
from typing import Any

from handler.scoring.contract import Contract
from handler.scoring.features import feature_names
from training.monotone import monotone_signs
from training.report.markdown import code, escaped, number, percent, plain, table
from training.report.stage_reports import Reports

MOST_FEATURES = 25
DIRECTIONS = {1: "may only rise", -1: "may only fall", 0: "free"}
REBALANCED = {
    "smote": "SMOTE added made-up frauds between real ones that are alike, up to {ratio:g} frauds per legitimate row",
    "undersample": "legitimate rows were left out at random, up to {ratio:g} frauds per legitimate row",
    "class_weight": "frauds weighed more, as if there were {ratio:g} of them per legitimate row",
    "none": "none",
}
# What a verdict is on, and why it matters where there is none.
COMPARED = {
    "resampling": (
        "Ways to rebalance",
        "**The ways to rebalance were not compared**, so the declared one may do harm and nobody would know.",
    ),
    "selection": (
        "Kinds of model",
        "**Other kinds of model were not compared with this one**, so a simpler one may be just as good.",
    ),
    "tuning": (
        "Parameters",
        "**There is no report of a search for parameters**, so others may do better.",
    ),
}
PARAMETERS = (
    "`rounds` is the number of trees, `max_depth` how many questions a tree asks in a row, `learning_rate` how much of "
    "each tree is taken. Of the others, `threads` and `tree_method` are technical; the rest keep trees from learning "
    "single rows by heart."
)


def making(reports: Reports) -> str:
    """How the model was made: its features, the rebalancing, its parameters, and what was compared."""
    resampling = reports.scorer.resampling
    rebalanced = REBALANCED[resampling.method if resampling.ratio else "none"].format(ratio=resampling.ratio)
    model = (
        f"The model is a sum of {reports.training['model']['rounds']:,} small decision trees (XGBoost), learned from "
        f"{reports.training['rows_learned_from']:,} rows: the training window after rebalancing. Rebalancing, of "
        f"training rows only: {rebalanced}."
    )
    return (
        f"## How the model was made\n\n{model}\n\n{_features(reports)}\n\n{' '.join(_about_features(reports))}\n\n"
        f"{_parameters(reports)} {PARAMETERS}\n\n{' '.join(_compared(reports))}\n"
    )


def _features(reports: Reports) -> str:
    """The table of features, those used most first."""
    kinds, units = _kinds(reports.contract)
    signs = dict(zip(feature_names(reports.contract), monotone_signs(reports.contract), strict=True))
    lines = [
        [
            code(row["feature"]),
            kinds.get(row["feature"], ""),
            units.get(row["feature"], ""),
            DIRECTIONS[signs.get(row["feature"], 0)],
            percent(row["gain"]),
            f"{number(row['permutation'])} ± {number(row['permutation_std'])}",
        ]
        for row in reports.importance[:MOST_FEATURES]
    ]
    return table("llllrr", ["feature", "kind", "unit", "risk as it grows", "share of gain", "lost without it"], lines)


def _kinds(contract: Contract) -> tuple[dict[str, str], dict[str, str]]:
    """Per feature what kind of value it is, and its unit."""
    kinds, units = {}, {}
    for name, field in contract.fields.items():
        feature = field.categories or name
        kinds[feature] = f"category learned from the text of {code(name)}" if field.categories else field.type
        units[feature] = plain(field.unit) if field.unit else ""
    for name, derived in contract.features.items():
        left, right = map(code, derived.operands)
        kinds[name] = f"{left} {'divided by' if derived.ratio else 'times'} {right}"
        units[name] = plain(derived.unit) if derived.unit else ""
    return kinds, units


def _about_features(reports: Reports) -> Iterator[str]:
    if (more := len(reports.importance) - MOST_FEATURES) > 0:
        yield f"{more:,} more features are in `reports/{reports.name}/importance.csv`."
    yield (
        "Share of gain: how much of what the trees learned came from the feature. Lost without it: how much average "
        "precision (explained below) falls when the feature's values are shuffled among the test rows; mean and "
        "standard deviation over shuffles. A feature computed from others is shuffled alone, so those may stand in "
        "for it. Risk as it grows: a direction that the declaration imposes, or free."
    )
    for text, found in reports.training["texts"].items():
        yield (
            f"Of names that its catalogue did not hold, the category learned from {code(text)} is given for "
            f"{percent(found['answered'])}, and is right in {percent(found['accuracy_answered'])} of those; the rest "
            "is called other."
        )


def _parameters(reports: Reports) -> str:
    """The parameters, each with where it comes from."""
    searched = reports.tuning["searched"] if reports.tuning else []
    default = "left at its default" if reports.tuning else "not pinned"
    origins: dict[str, list[str]] = {}
    for name, value in reports.training["model"].items():
        origin = "found by the search" if name in searched else default
        origin = "pinned by the declaration" if name in reports.scorer.model.pinned else origin
        origins.setdefault(origin, []).append(f"`{name}` {value}")
    listed = "; ".join(f"{origin}: {', '.join(values)}" for origin, values in origins.items())
    return f"Parameters {listed}."


def _compared(reports: Reports) -> Iterator[str]:
    """What each comparison says, or that it was not made."""
    found = {"resampling": reports.resampling, "selection": reports.selection, "tuning": reports.tuning}
    if any(found.values()):
        yield (
            f"The following was judged on {reports.scorer.folds.count} blocks of the training window (folds), each "
            "scored by models of earlier rows only. ± is the standard deviation over folds; an arm is one way to "
            "rebalance."
        )
    for name, report in found.items():
        subject, missing = COMPARED[name]
        yield f"{subject}: {escaped(report['verdict']).replace('+-', '±')}." if report else missing
        if name == "resampling" and report and _is_doubtful(report):
            yield "**The declared way was kept all the same; it needs a second look.**"


def _is_doubtful(report: dict[str, Any]) -> bool:
    """Whether another way to rebalance is better than the declared one by more than chance."""
    low, _ = report["arms"][report["chosen"]]["average_precision"]["interval"]
    return bool(report["chosen"] != report["declared"] and low > 0)
