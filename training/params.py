"""The blocks of a scorer's declaration that say how its model is trained and watched, each a frozen record."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from handler.scoring.contract import SOURCES, Source
from handler.scoring.fields import SECONDS_A_DAY, Frozen, Name

Share = Annotated[float, Field(gt=0, le=1)]

type Engine = Literal["local", "dask"]

# The parameters that tuning searches unless the declaration pins them; `training.tune.SPACE` has the ranges.
TUNED = (
    "max_depth",
    "min_child_weight",
    "subsample",
    "colsample_bytree",
    "reg_lambda",
    "max_bin",
)
# The parts of the cost of decisions (`training.evaluation.cost`), in the order in which a plot stacks them.
COST_PARTS = ("missed", "not_recovered", "reviews", "insults")
# The parameters that a grid may list.
GRID = ("rounds", "learning_rate", *TUNED)


class Split(Frozen):
    """The test window (the latest rows), what precedes it, and how late labels arrive."""

    test: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The length of the test window as a share of the rows."""
    test_days: Annotated[float, Field(gt=0)] | None = None
    """The length of the test window in days, instead of a share; as rows are added, only the training window grows."""
    calibrate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The length of a separate calibration window before the test window, as a share of the rows. By default there is
    none: the validation blocks of the training window calibrate, and the model learns from all rows before the test
    window."""
    calibrate_days: Annotated[float, Field(gt=0)] | None = None
    """The length of the separate calibration window in days, instead of a share."""
    label_delay_days: Annotated[float, Field(ge=0)] = 0.0
    """Rows this close before the next window are left out, because their labels would not have been known."""
    sample: Share = 1.0
    """The share of the rows that is used; 0.1 to 0.2 gives a quick prototype."""
    weight: Name | None = None
    """The column with how many requests a row stands for (`training.data.window.repeated`); the model never sees it."""
    refit: bool = False
    """Whether the model that ships also learns the later windows, once a model that has not seen them is evaluated."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.test is None) == (self.test_days is None):
            raise ValueError("the test window must be given by exactly one of test (a share of the rows) and test_days")
        other, unit = ("calibrate", "test_days") if self.test is None else ("calibrate_days", "test")
        if getattr(self, other) is not None:
            raise ValueError(f"{other} and {unit} use different units; give both windows as shares, or both in days")
        if self.test and self.calibrate and self.test + self.calibrate >= 1:
            raise ValueError(f"calibrate + test is {self.test + self.calibrate:g}; it must be below 1")
        return self

    @property
    def has_calibration_window(self) -> bool:
        """Whether a separate window, which the model does not learn from, is used for calibration."""
        return self.calibrate is not None or self.calibrate_days is not None

    @property
    def label_delay_seconds(self) -> float:
        """The label delay in the unit of the time column."""
        return self.label_delay_days * SECONDS_A_DAY


class Quarantine(Frozen):
    """The share of rows that may break the contract before the run stops."""

    max_share: Annotated[float, Field(ge=0, le=1)]


class Folds(Frozen):
    """Prequential folds inside the training window, on which models are compared and tuned."""

    count: Annotated[int, Field(ge=2, le=20)] = 4
    validate_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of the training window that the validation blocks cover together; these are its latest rows."""
    sample: Share = 1.0
    """The share of a fold's training rows that is used; validation uses all rows of its block."""


class Resampling(Frozen):
    """How the training rows, and no others, are rebalanced."""

    method: Literal["auto", "smote", "undersample", "class_weight", "none"]
    """auto: the variant that the folds choose (`training.compare`)."""
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Frauds per legitimate row after resampling, by count or (class_weight) by weight; 0 changes nothing."""
    neighbours: Annotated[int, Field(ge=1)] = 5

    @model_validator(mode="after")
    def _auto_is_free(self) -> Self:
        if self.method == "auto" and (given := sorted(self.model_fields_set - {"method"})):
            raise ValueError(f"method is auto, which chooses {', '.join(given)} itself; remove it, or name a method")
        return self


class Model(Frozen):
    """XGBoost's parameters, under its own names except `rounds` and `threads`; declared ones are not tuned."""

    rounds: Annotated[int, Field(ge=1)] = 500
    """The number of trees. If it is not declared, the folds choose it by early stopping, and the default is the limit:
    more trees would make the function's explanations slow."""
    max_depth: Annotated[int, Field(ge=1, le=16)] = 5
    learning_rate: Share = 0.1
    min_child_weight: Annotated[float, Field(ge=0)] = 2.0
    subsample: Share = 0.8
    colsample_bytree: Share = 0.6
    reg_lambda: Annotated[float, Field(ge=0)] = 3.0
    max_bin: Annotated[int, Field(ge=2)] = 256
    tree_method: Literal["hist", "exact"] = "hist"
    """exact does not support categories."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Declared, because the order in which XGBoost sums, and so the last bits of the model, depend on it."""

    @property
    def on_one_core(self) -> Self:
        """The same parameters with one thread, for folds that are trained in parallel."""
        return self.model_copy(update={"threads": 1})

    @property
    def pinned(self) -> frozenset[str]:
        """The parameters that the declaration gives and tuning does not change."""
        return frozenset(self.model_fields_set)


class Compute(Frozen):
    """Where the stages run, and how much of the data they hold in memory."""

    engine: Engine = "local"
    """dask: the scheduler at DASK_SCHEDULER_ADDRESS, or else one process for each core of this machine."""
    chunk_rows: Annotated[int, Field(ge=1_000)] = 250_000
    """Rows are read, checked, encoded and passed to XGBoost in chunks of this size. XGBoost merges the quantiles of
    chunks, so the last digits of the model depend on it."""
    external_memory: bool = False
    """Whether XGBoost keeps its matrix on disk."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")] = "cpu"
    """XGBoost's own parameter; cuda needs the package xgboost instead of xgboost-cpu."""

    @model_validator(mode="after")
    def _cluster_holds_the_rows(self) -> Self:
        if self.engine == "dask" and self.external_memory:
            raise ValueError("engine is dask, whose workers hold the rows; external_memory must be false")
        return self


class Tuning(Frozen):
    """How the parameters that `model` does not pin are found."""

    mode: Literal["tpe", "grid", "none"]
    trials: Annotated[int, Field(ge=1)] = 25
    """With mode tpe: the number of trials; a fixed number makes a run reproducible."""
    grid: dict[Literal[GRID], Annotated[list[Any], Field(min_length=1)]] = {}  # type: ignore[valid-type]  # noqa: RUF012 - the tuple above; pydantic copies it
    """With mode grid: the values of each searched parameter; every combination is evaluated."""
    time_limit_minutes: Annotated[float, Field(gt=0)] | None = None
    """Stops the search early; the result then depends on the machine."""

    @model_validator(mode="after")
    def _grid_belongs_to_its_mode(self) -> Self:
        if self.mode == "grid" and not self.grid:
            raise ValueError("mode is grid, but there is no grid; add one such as grid: {max_depth: [3, 5]}")
        if self.mode != "grid" and self.grid:
            raise ValueError(f"mode is {self.mode}, which reads no grid; remove grid, or declare mode: grid")
        for name, values in self.grid.items():
            for value in values:
                try:
                    Model.model_validate({name: value})
                except ValidationError as error:
                    needed = error.errors()[0]["msg"].replace("Input should", "it must")
                    raise ValueError(f"grid.{name} holds {value!r}; {needed}") from error
        return self


class Insult(Frozen):
    """What is lost when a legitimate request is blocked; a plain number is taken as `flat`."""

    flat: Annotated[float, Field(ge=0)] = 0.0
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of the request's amount that is lost."""

    @model_validator(mode="before")
    @classmethod
    def _number_is_flat(cls, value: Any) -> Any:  # noqa: ANN401 - what a file declares
        if isinstance(value, str | list):
            raise ValueError(f"it is {value!r}; it must be a number, or {{flat: ..., share: ...}} with one key or both")  # noqa: TRY004 - pydantic's
        return {"flat": value} if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _is_something(self) -> Self:
        if not self.flat and not self.share:
            raise ValueError(
                "it is 0, so blocking would cost nothing and all requests would be blocked; give what blocking a "
                "legitimate request costs, such as 15 or {share: 0.05}, or remove it"
            )
        return self


class Costs(Frozen):
    """The costs of decisions, in the unit of the amount."""

    amount: Name
    """The money field whose value is lost when a fraud is not flagged."""
    review: Annotated[float, Field(gt=0)]
    """The cost of one alert, right or wrong, that somebody reviews."""
    insult: Insult | None = None
    """What is lost with each legitimate request that is blocked."""
    recovered: Share = 1.0
    """The share of a flagged fraud's amount that is really saved."""
    capacity: Annotated[float, Field(gt=0)] | None = None
    """How many requests a day can be reviewed."""


class Policy(Frozen):
    """How a threshold is picked: by exactly one of recall, precision, review_rate and cost."""

    recall: Share | None = None
    """At least this share of the frauds is flagged."""
    precision: Share | None = None
    """At least this share of the flagged rows is fraud."""
    review_rate: Share | None = None
    """At most this share of all rows is flagged."""
    cost: Literal["lowest"] | None = None
    """The threshold, or the pair of thresholds, with the lowest cost; needs `costs`."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    """With recall or precision: the confidence that the target holds for future rows."""

    @property
    def given(self) -> dict[str, Any]:
        """The declared aim and, if there is one, the declared confidence."""
        return {name: value for name in Policy.model_fields if (value := getattr(self, name)) is not None}

    def _require_one_aim(self) -> None:
        aims = sorted(self.given.keys() - {"confidence"})
        if len(aims) != 1:
            problem = f"{' and '.join(aims)} are given" if aims else "no policy is given"
            raise ValueError(f"{problem}; it must be exactly one of cost, precision, recall, review_rate")
        if self.confidence is not None and aims[0] not in {"precision", "recall"}:
            raise ValueError(f"confidence is for recall and precision, but the policy is {aims[0]}; remove confidence")
        if self.confidence is not None and self.recall == 1:
            raise ValueError("recall is 1, which no number of frauds can ensure; lower it, or remove confidence")

    @model_validator(mode="after")
    def _is_one_policy(self) -> Self:
        self._require_one_aim()
        return self


class Control(Frozen):
    """The control group: requests that should be blocked but are let through, so that their outcome becomes known."""

    share: Annotated[float, Field(gt=0, le=0.5)]
    """The share of the requests to be blocked that is let through."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_block(cls, value: Any) -> Any:  # noqa: ANN401 - what a file declares
        if isinstance(value, int | float | str):
            raise ValueError(f"it is {value!r}; it must be {{share: ...}}, such as {{share: 0.01}}")  # noqa: TRY004 - pydantic's
        return value


class Decision(Policy):
    """One policy, whose threshold flags requests; or two, one for the threshold to review from, one to block from."""

    review: Policy | None = None
    block: Policy | None = None
    score: Literal[1000] | None = None
    """Answers also have a score from 0 to 1000: the fewer legitimate requests score as high, the higher it is."""
    control: Control | None = None

    @property
    def flagging(self) -> Policy:
        """The policy that picks the threshold from which a request is flagged, whether for review or to be blocked."""
        return self.review or self

    @model_validator(mode="after")
    def _is_one_policy(self) -> Self:
        if self.review is None and self.block is None:
            self._require_one_aim()
            return self
        if self.given:
            raise ValueError(
                f"{' and '.join(self.given)} cannot be combined with review or block; declare one policy, or a policy "
                "for each of review and block"
            )
        if self.review is None or self.block is None:
            missing, other = ("review", "block") if self.review is None else ("block", "review")
            raise ValueError(
                f"{other} is given without {missing}; give a policy for both, or one policy without either"
            )
        return self

    @model_validator(mode="after")
    def _control_is_of_blocks(self) -> Self:
        if self.control and not self.block:
            raise ValueError(
                "control lets through some of the requests to be blocked, but there is no block; give a policy for "
                "each of review and block, or remove control"
            )
        return self


class Monitoring(Frozen):
    """The limits beyond which the monitor says watch or retrain (`training.monitoring.verdict`)."""

    block_days: Annotated[float, Field(gt=0)] = 7.0
    """The length of the blocks in which records are judged."""
    consecutive: Annotated[int, Field(ge=1)] = 2
    """How many consecutive blocks must agree before the state changes, to worse or back."""
    unlabelled: Literal["unknown", "legitimate"] = "unknown"
    """How a prediction without an outcome counts once it is older than split.label_delay_days."""
    precedence: Annotated[tuple[Source, ...], Field(min_length=1)] = SOURCES
    """Which source's outcome counts if those of an id disagree, the strongest first; within a source the latest."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """A block with fewer predictions is not judged for drift."""
    min_frauds: Annotated[int, Field(ge=1)] = 30
    """A block with fewer known frauds is not judged for performance."""
    psi: Annotated[float, Field(gt=0)] = 0.1
    """Watch if the population stability index of a feature or of the score exceeds this."""
    missing: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Watch if the share of a feature's missing, or unseen, values has grown by more than this."""
    ratio: Annotated[float, Field(gt=1)] = 1.5
    """Watch if the alert rate, block rate or fraud rate has changed significantly by a larger factor, up or down."""
    pooled: Annotated[int, Field(ge=1)] = 4
    """How many blocks are pooled to judge performance, because frauds are few."""
    recall_drop: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Retrain if the measured recall is significantly lower by more than this; watch if only the estimated one is."""
    calibration_ratio: Annotated[float, Field(gt=1)] = 1.5
    """Retrain if observed and expected frauds differ significantly by a larger factor, up or down."""

    @field_validator("precedence")
    @classmethod
    def _names_each_source_once(cls, precedence: tuple[Source, ...]) -> tuple[Source, ...]:
        if sorted(precedence) != sorted(SOURCES):
            raise ValueError(
                f"it is {', '.join(precedence)}; it must name each of {', '.join(SOURCES)} once, the strongest first"
            )
        return precedence


class Gate(Frozen):
    """What the promotion gate asks of a challenger (`training.delivery.gate`)."""

    margin: float = 0.02
    """The loss of average precision against the champion that is tolerated; the lower end of the gain's interval must
    be above -margin. A recall that is significantly lower by at least this much is refused too."""
    min_frauds: Annotated[int, Field(ge=1)] = 50
    """With fewer frauds in the window the gate cannot tell."""
    max_alert_ratio: Annotated[float, Field(gt=1)] = 1.5
    """The limit of its alert rate, as a multiple of what the champion flags or was meant to flag; to exceed it
    significantly is a decision about staff."""
    max_calibration_share: Annotated[float, Field(gt=0)] = 0.5
    """The limit of its calibration error, as a share of the fraud rate; above it probabilities cannot be relied on."""
    max_left_out: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """The share of the rows that either model may reject; if more are rejected, the rest is no fair sample."""

    @field_validator("margin")
    @classmethod
    def _margin_decides(cls, margin: float) -> float:
        if margin <= 0:
            raise ValueError(
                f"it is {margin:g}; a model that is only as good as the champion could never pass. Give the loss of "
                "average precision that you would accept, such as 0.02"
            )
        if margin >= 1:
            raise ValueError(
                f"it is {margin:g}, with which every model would pass; give the loss of average precision that you "
                "would accept, such as 0.02"
            )
        return margin
