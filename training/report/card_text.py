"""The model card's words on what a model is for, the rows behind it, its reasons and its limits."""

from collections.abc import Iterator

from handler.scoring.features import feature_names
from training.report.markdown import code, percent, plain, table, target
from training.report.stage_reports import Reports

LONGEST_WARNING = 400
USED_FOR = {
    "train": "the model, and every comparison and search",
    "calibrate": "the calibration and the threshold",
    "test": "the results below, and nothing else",
}

LIMITS = """A fraud pattern that begins later is in none of these numbers, and \
the model will miss it until it learns from rows that hold it.
- Watch the share of requests that is flagged, the shares of missing values and of categories called other, and the \
share of alerts that reviewers confirm. `reference.json` in the bundle holds what training saw, to compare with. A \
change in any of them is a reason to train again on later rows.
- Small segments are not judged: a category with few rows is not in the table, and one with few frauds has no recall. \
Nothing here says that the model is fair to groups that are not categories of its features.
- The labels are taken as true. Where only flagged requests are reviewed, frauds that were not flagged may stand as \
legitimate, and recall then looks better than it is.
- Whether these rows represent the requests to come is for their owner to say; the card cannot know it."""


def purpose(reports: Reports) -> str:
    """What the model decides, and what it must not be used for."""
    n_features = len(feature_names(reports.contract))
    if reports.contract.answer == "probability":
        answer = "The caller receives this probability and whether the request is flagged."
    else:
        answer = (
            "The caller receives 1 (flagged) or 0, and as confidence the probability that this answer is right; with a "
            "threshold far below one half, a flagged request may have a small confidence."
        )
    wrong = percent(1 - reports.metrics["precision"])
    return (
        "## What it decides, and what it must not be used for\n\n"
        f"For each request the model gives the probability that {code(reports.scorer.label)} is true, from the "
        f"{n_features} features listed below. It flags a request whose probability is {reports.threshold:.8g} or more. "
        f"{answer}\n\n"
        f"It must not be used as proof of fraud: {wrong} of what it flagged in the test window was legitimate. A flag "
        "is a reason to look, not a finding about a person. It must not be used for requests unlike the rows described "
        "below (other products, customers, countries or times), for any other question, or with a field that is filled "
        "in another way than in those rows.\n"
    )


def data(reports: Reports) -> str:
    """Which rows the model was made and judged with."""
    headers = ["window", "from", "to", "rows", "frauds", "fraud rate", "used for"]
    windows = [
        [
            name,
            *(window[end][:16].replace("T", " ") for end in ("from", "to")),
            *(f"{window[count]:,}" for count in ("rows", "frauds")),
            percent(window["fraud_rate"]),
            USED_FOR.get(name, ""),
        ]
        for name, window in reports.rows["windows"].items()
    ]
    return f"## The data\n\n{table('lllrrrl', headers, windows)}\n\n{' '.join(_about_rows(reports))}\n"


def _about_rows(reports: Reports) -> Iterator[str]:
    rows, split = reports.rows, reports.scorer.split
    bad, reasons = rows["quarantined"]["rows"], rows["quarantined"]["reasons"]
    sample = f", a random {target(split.sample)} of it" if split.sample < 1 else ""
    yield f"The file {plain(reports.scorer.data)} gave {rows['rows']:,} rows{sample}."
    if bad:
        listed = "; ".join(f"{plain(reason)} ({count:,})" for reason, count in reasons.items())
        yield f"{bad:,} of them broke the declared contract and were set aside: {listed}."
    else:
        yield "None of them broke the declared contract."
    if "T" not in rows["windows"]["test"]["from"]:
        yield (
            "Its times are no dates: from and to are seconds from a start of their own, or the places of rows taken to "
            "be in order of time. If they are not in that order, the results below are too good."
        )
    if split.label_delay_days:
        left = rows["rows"] - bad - sum(window["rows"] for window in rows["windows"].values())
        yield (
            f"A label is taken to be known {split.label_delay_days:g} days after its row, so the {left:,} rows closer "
            "than that to the next window belong to none."
        )
    else:
        yield (
            "No label delay is declared: labels are taken to be known at once. Where they arrive later, as "
            "chargebacks do, the results below are too good."
        )
    if warnings := rows.get("warnings"):
        told = " ".join(f"{plain(warning, longest=LONGEST_WARNING).rstrip('.')}." for warning in warnings)
        yield f"**The check of the data warns:** {told}"


def explanations(reports: Reports) -> str:
    """What a reason is."""
    gain = ", ".join(code(row["feature"]) for row in reports.importance[:3])
    lost = sorted(reports.importance, key=lambda row: -row["permutation"])[:3]
    return (
        "## Explanations\n\n"
        "Every flagged request is answered with reasons, and any request on demand. A reason is one feature's exact "
        "contribution to the answer (TreeSHAP: Lundberg 2020) in calibrated log-odds, the logarithm of p / (1 - p) of "
        "the probability p: the base and all contributions add up to the answer. It says what the model used, not what "
        f"caused the fraud. In training the model used {gain} most (by gain), and would lose most without "
        f"{', '.join(code(row['feature']) for row in lost)} (by shuffling).\n"
    )


def limits(reports: Reports) -> str:
    """What the card cannot promise, and what to watch."""
    test = reports.rows["windows"]["test"]
    period = f"{test['from'][:10]} to {test['to'][:10]}"
    return f"## Limits and what to watch\n\n- The results hold for rows like those of {period}. {LIMITS}\n"


def reproducibility(reports: Reports) -> str:
    """How the same model is made again."""
    return (
        "## Reproducing it\n\n"
        f"The version `{reports.manifest['version']}` is a hash of the bundle's content: the same declaration, rows "
        "and code give the same version on any machine. `dvc repro` makes it again, and `dvc.lock` holds the hash of "
        f"everything that went in and came out. The seed is {reports.scorer.seed}. The full pipeline, for an audit, is "
        f"`build/{reports.name}/pipeline.joblib`; the function never loads it. This card is made from the same run's "
        "reports and holds no number of its own.\n"
    )
