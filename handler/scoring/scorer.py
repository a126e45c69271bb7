"""A scorer: request -> vector -> margin -> calibrated probability -> decision -> reasons."""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import fsum
from operator import attrgetter
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from handler.scoring.booster import library_version
from handler.scoring.bundle import Bundle, BundleError, load_bundle
from handler.scoring.calibration import log_odds_to_probability
from handler.scoring.contract import MAX_BATCH, Band, Contract, answer_model, request_model
from handler.scoring.features import recorded_features
from handler.scoring.outliers import Outliers
from handler.scoring.sentence import reason_sentence

if TYPE_CHECKING:
    from handler.scoring.past import RequestPast

# How many of the features that raise the risk an answer names unless explain=true.
N_REASONS = 3
# A golden answer may differ in the last bits, because exp() depends on the platform.
GOLDEN_TOLERANCE = 1e-9
# The decimal digits of golden contributions that must agree, because the last bits differ between processors.
CONTRIBUTION_DIGITS = 3

logger = logging.getLogger(__name__)


class Scored(NamedTuple):
    """The model's result for one request."""

    vector: list[float]
    """The features, NaN where a value is missing."""
    margin: float
    probability: float
    is_flagged: bool
    band: Band | None = None
    """None if the decision has no bands."""
    score: int | None = None
    """From 0 to 1000; None if the decision has no scale."""
    contributions: Sequence[float] | None = None
    """Each feature's contribution to the calibrated log-odds, in order; None until `Scorer.explained` computes them."""


class Answered(NamedTuple):
    """Requests, their scores and their answers, in order."""

    requests: Sequence[BaseModel]
    scored: Sequence[Scored]
    answers: Sequence[dict[str, Any]]


class Scorer:
    """A loaded bundle, ready to score and answer requests."""

    def __init__(self, bundle: Bundle, *, clock: Callable[[], float] = time) -> None:
        """Prepare everything that is the same for all requests; `clock` gives the time of a request without one."""
        self.bundle = bundle
        self.contract = bundle.contract
        self.version = bundle.version
        self._features = bundle.features
        self._booster = bundle.booster
        self._slope: float = bundle.manifest["calibration"]["slope"]
        self._intercept: float = bundle.manifest["calibration"]["intercept"]
        decision = bundle.manifest["decision"]
        self.threshold: float = decision["threshold"]
        self.block: float | None = decision["block"]["threshold"] if "block" in decision else None
        """The lowest probability at which a request is blocked; None if the decision has no bands."""
        self.scale: Sequence[float] | None = bundle.baseline["score"]["scale"] if decision.get("score") else None
        """The probability that each score from 1 on exceeds; None if the decision has no scale."""
        self.control: float = decision.get("control", {}).get("share", 0.0)
        """The share of the requests to be blocked that is let through; 0 if there is no control group."""
        example = bundle.golden[len(bundle.golden) // 2]["request"] if bundle.golden else None
        self.request_model = request_model(bundle.scorer, bundle.contract, example, clock)
        requests: Any = Annotated[list[self.request_model], Field(min_length=1, max_length=MAX_BATCH)]  # type: ignore[name-defined]  # created at run time
        self.batch: TypeAdapter[list[BaseModel]] = TypeAdapter(requests)
        # The key that has the decision in an answer.
        self.verdict = "is_flagged" if bundle.contract.answer == "probability" else "prediction"
        names = bundle.contract.inputs
        values = attrgetter(*names)
        self._values = values if len(names) > 1 else lambda request: (values(request),)
        self._id = bundle.contract.id
        self._outliers = Outliers(bundle)
        self.past = _past_of(bundle.scorer, bundle.contract)
        """What a request adds to the past, and reads from it; None for a scorer without a history."""
        self.whatif: Any = None
        """This scorer's `handler.scoring.whatif.WhatIf`; None until the first request that asks for it."""
        self.display = bundle.features.display
        self.recorded_features = recorded_features(bundle.contract)
        history = bundle.contract.history
        self.recorded_history = history if history and history.is_recorded(bundle.contract.fields) else None
        self.recorded_groups = [
            (name, field.private == "hash")
            for name, field in bundle.contract.fields.items()
            if field.type == "audit" and field.private != "omit"
        ]
        """The fields by whose values a monitor compares the decisions, each with whether records hash its values."""
        self.hashed_features = tuple(name for _, name, is_hashed in self.recorded_features if is_hashed)

    @cached_property
    def answer_model(self) -> type[BaseModel]:
        """The pydantic model of an answer, which only the OpenAPI document needs."""
        return answer_model(
            self.bundle.scorer, self.contract, has_bands=self.block is not None, has_score=self.scale is not None
        )

    def golden_request(self, case: dict[str, Any]) -> BaseModel:
        """The request of a golden case, with the features of its past."""
        request = self.request_model.model_validate(case["request"])
        vars(request).update(case.get("past", {}))
        return request

    def vector(self, request: BaseModel) -> list[float]:
        """The request's feature vector; NaN is a missing value."""
        return self._features.encode(self._values(request))

    def id_of(self, request: BaseModel) -> str | None:
        """The request's id, or None."""
        return getattr(request, self._id) if self._id else None

    def probability(self, margin: float) -> float:
        """The calibrated probability of a margin (Platt 1999)."""
        return log_odds_to_probability(self._slope * margin + self._intercept)

    def band(self, probability: float) -> Band | None:
        """What is to be done with a request of this probability; None if the decision has no bands."""
        if self.block is None:
            return None
        return "block" if probability >= self.block else "review" if probability >= self.threshold else "approve"

    def scaled(self, probability: float) -> int | None:
        """The score of a probability, from 0 to 1000; None if the decision has no scale."""
        return None if self.scale is None else bisect_left(self.scale, probability)

    def score(self, request: BaseModel) -> Scored:
        """The score of one validated request."""
        vector = self.vector(request)
        return self.scored(vector, self._booster.margin(vector))

    def scores(self, requests: Sequence[BaseModel]) -> list[Scored]:
        """The scores of several requests, in order; each equals `score` of its request."""
        vectors = [self.vector(request) for request in requests]
        return list(map(self.scored, vectors, self._booster.margins(vectors)))

    def scored(self, vector: list[float], margin: float) -> Scored:
        """The result of a vector with this margin."""
        probability = self.probability(margin)
        is_flagged, band = probability >= self.threshold, self.band(probability)
        return Scored(vector, margin, probability, is_flagged, band, self.scaled(probability))

    def answer(self, request: BaseModel, scored: Scored | None = None, *, explain: bool = False) -> dict[str, Any]:
        """The answer to one validated request, as `answer_model` describes it, without the keys that do not apply.

        It has reasons if the request is flagged or with `explain`. `scored` is the result of `score`, if already known.
        """
        scored = scored or self.score(request)
        if scored.contributions is None and (explain or scored.is_flagged):
            (scored,) = self.explained((scored,), every=explain)
        return self._assemble(request, scored, explain=explain)

    def answers(
        self, requests: Sequence[BaseModel], scored: Sequence[Scored] | None = None, *, explain: bool = False
    ) -> list[dict[str, Any]]:
        """The answers to several requests, in order; each equals `answer` of its request."""
        scored = self.explained(scored or self.scores(requests), every=explain)
        return [
            self._assemble(request, result, explain=explain) for request, result in zip(requests, scored, strict=True)
        ]

    def explained(self, scored: Sequence[Scored], *, every: bool = False) -> Sequence[Scored]:
        """The results, with contributions, which reasons need, in those that are flagged or in `every` one."""
        places = [
            place
            for place, result in enumerate(scored)
            if (every or result.is_flagged) and result.contributions is None
        ]
        if not places:
            return scored
        explained = list(scored)
        of_margin = self._booster.contributions([scored[place].vector for place in places])
        for place, shares in zip(places, of_margin, strict=True):
            explained[place] = scored[place]._replace(contributions=[self._slope * share for share in shares[:-1]])
        return explained

    def base_log_odds(self, margin: float, contributions: Iterable[float]) -> float:
        """The log-odds before any reason, which together with the contributions add up to the calibrated ones.

        Not the model's own bias: XGBoost adds up in float32, and the base absorbs the rounding (below 1e-4), so that
        the sum equals the answer's log-odds to the last digit.
        """
        return self._slope * margin + self._intercept - fsum(contributions)

    def _assemble(self, request: BaseModel, scored: Scored, *, explain: bool) -> dict[str, Any]:
        vector, margin, probability, is_flagged, band, score, contributions = scored
        answer: dict[str, Any]
        if self.contract.answer == "probability":
            answer = {"fraud_probability": probability, "is_flagged": is_flagged}
        else:
            confidence = probability if is_flagged else 1.0 - probability
            answer = {"prediction": int(is_flagged), "confidence": confidence}
        if band:
            answer["band"] = band
        if score is not None:
            answer["score"] = score
        answer["model_version"] = self.version
        if self._id and (identifier := getattr(request, self._id)) is not None:
            answer[self._id] = identifier
        if contributions is not None and (explain or is_flagged):
            if explain:
                answer["base_log_odds"] = self.base_log_odds(margin, contributions)
            answer["reasons"] = self._reasons(vector, contributions, every=explain)
        if warnings := self._outliers.warnings(self._values(request), vector):
            answer["warnings"] = warnings
        return answer

    def reason_fields(self, contributions: Sequence[float]) -> list[str]:
        """The fields that the reasons of a flagged request name."""
        return [self._features.names[place] for place in _largest(contributions)]

    def _reasons(self, vector: list[float], shares: Sequence[float], *, every: bool) -> list[dict[str, Any]]:
        """The features' contributions to the calibrated log-odds, largest first.

        With `every`, all features by absolute contribution: their sum plus `base_log_odds` is the calibrated log-odds.
        Otherwise the N_REASONS features that raise the risk most.
        """
        order = sorted(range(len(shares)), key=lambda index: -abs(shares[index])) if every else _largest(shares)
        return [
            {
                "field": self._features.names[index],
                "value": self._features.display(index, vector[index]),
                "contribution": shares[index],
                "sentence": reason_sentence(self._features, self.bundle.reference, index, vector[index], shares[index]),
            }
            for index in order
        ]


def _largest(shares: Sequence[float]) -> list[int]:
    """The places of the contributions that raise the risk most, the largest first."""
    order = sorted(range(len(shares)), key=lambda index: -shares[index])[:N_REASONS]
    # If none raises the risk, the threshold flags every request, and the first ones are all there is to name.
    return [index for index in order if shares[index] > 0] or order


def _past_of(scorer: str, contract: Contract) -> "RequestPast | None":
    if not contract.history:
        return None
    from handler.scoring.past import RequestPast  # noqa: PLC0415 - only scorers with a history need it

    return RequestPast(scorer, contract, contract.history)


def servable_scorer(bundle: Bundle, where: str) -> Scorer:
    """The scorer as from `verified_scorer`, after it also explained every golden case, singly and as a batch.

    The version that serves must not be replaced by one that can score but not answer. Raises BundleError if it cannot.
    """
    scorer = verified_scorer(bundle, where)
    requests = [scorer.golden_request(case) for case in bundle.golden]
    try:
        batch = to_json(scorer.answers(requests, explain=True))
        single = to_json([scorer.answer(request, explain=True) for request in requests])
    except Exception as error:
        raise BundleError(f"{where} can score its golden requests but cannot answer them: {error!r}") from error
    if batch != single:
        raise BundleError(f"{where} answers its golden requests differently in a batch than one by one")
    return scorer


def load_scorer(folder: Path) -> Scorer:
    """The scorer of a bundle's folder, after it reproduced the golden cases.

    Raises BundleError if the bundle is incomplete or damaged, or computes other numbers than in training.
    """
    return verified_scorer(load_bundle(folder), str(folder))


def load_scorers(folder: Path) -> dict[str, Scorer]:
    """The scorers of every bundle in a folder, by name.

    Raises BundleError if there is none, if one is damaged or in a folder of another name, or if two share a route.
    """
    folders = sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    if not folders:
        raise BundleError(f"{folder} contains no bundle; run `make train`, or set BUNDLES to the folder that has them")
    scorers: dict[str, Scorer] = {}
    for path in folders:
        scorer = load_scorer(path)
        if path.name != scorer.bundle.scorer:
            raise BundleError(
                f"{path} contains the bundle of {scorer.bundle.scorer}; a bundle's folder must have its scorer's name"
            )
        for other in scorers.values():
            if scorer.contract.route == other.contract.route:
                raise BundleError(
                    f"{path}: the route {scorer.contract.route} is already taken by {other.bundle.scorer}"
                )
        scorers[scorer.bundle.scorer] = scorer
    return scorers


def verified_scorer(bundle: Bundle, where: str) -> Scorer:
    """The scorer of a bundle, after it reproduced the golden cases; error messages name the bundle as `where`.

    Raises BundleError as `load_scorer` does.
    """
    try:
        scorer = Scorer(bundle)
    except KeyError as error:
        raise BundleError(f"{where} cannot be served: its manifest or reference lacks {error}") from error
    if not bundle.golden:
        raise BundleError(f"{where} has no golden cases; nothing proves that it computes what training computed")
    for number, case in enumerate(bundle.golden):
        try:
            request = scorer.golden_request(case)
        except ValidationError as error:
            raise BundleError(f"{where}: golden request {number} is outside the bundle's own contract") from error
        # Not "above the tolerance", which is false for NaN.
        if not abs((probability := scorer.score(request).probability) - case["probability"]) <= GOLDEN_TOLERANCE:
            raise BundleError(
                f"{where}: the golden request {case['request']} gives {probability}; "
                f"in training it gave {case['probability']}"
            )
    _warn_of_other_reasons(scorer, where)
    return scorer


def _warn_of_other_reasons(scorer: Scorer, where: str) -> None:
    """Log a warning if this version of XGBoost computes other contributions than the one in training.

    Raises BundleError if the golden cases cannot tell.
    """
    bundle, version = scorer.bundle, library_version()
    if bundle.trained_with in {version, None}:
        return
    case = next((case for case in bundle.golden if "contributions" in case), None)
    if case is None:
        raise BundleError(
            f"{where} has no golden contributions, so nothing shows whether XGBoost {version} computes the same ones "
            f"as {bundle.trained_with}; train it again with this version"
        )
    contributions = bundle.booster.contributions([scorer.vector(scorer.golden_request(case))])[0][:-1]
    try:
        worst = max(abs(value - expected) for value, expected in zip(contributions, case["contributions"], strict=True))
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"{where}: its golden contributions must be a list of {len(contributions)} numbers"
        ) from error
    if worst > 10**-CONTRIBUTION_DIGITS:
        logger.warning(
            "%s was trained with XGBoost %s; XGBoost %s computes the same probabilities, but contributions that differ "
            "by up to %.3g, so its reasons may differ; train it again with XGBoost %s",
            *(where, bundle.trained_with, version, worst, version),
        )
