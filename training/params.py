"""How one scorer's model is made: the blocks of its declaration, each a frozen record."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from handler.scoring.contract import Frozen, Name

Share = Annotated[float, Field(gt=0, le=1)]

type Engine = Literal["local", "dask"]

SECONDS_A_DAY = 86_400
# What tuning searches where the declaration does not pin it; `training.tune.SPACE` has the ranges.
TUNED = (
    "rounds",
    "max_depth",
    "learning_rate",
    "min_child_weight",
    "subsample",
    "colsample_bytree",
    "reg_lambda",
    "max_bin",
)


class Split(Frozen):
    """Windows in time order, as shares of the rows or by days, and how late a label may arrive."""

    train: Annotated[float, Field(gt=0, lt=1)] | None = None
    calibrate: Annotated[float, Field(gt=0, lt=1)] | None = None
    test: Annotated[float, Field(gt=0, lt=1)] | None = None
    calibrate_days: Annotated[float, Field(gt=0)] | None = None
    """Instead of the shares: as history grows, so does what is learned from, and nothing else."""
    test_days: Annotated[float, Field(gt=0)] | None = None
    label_delay_days: Annotated[float, Field(ge=0)] = 0.0
    """Rows this close before the next window are left out: their labels would not have been known."""
    sample: Share = 1.0
    """The share of the rows that is used at all; 0.1 to 0.2 makes a quick prototype."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        shares = [share for share in (self.train, self.calibrate, self.test) if share is not None]
        days = [days for days in (self.calibrate_days, self.test_days) if days is not None]
        if (len(shares), len(days)) not in {(3, 0), (0, 2)}:
            raise ValueError(
                "the windows must be given by train, calibrate and test (shares), or by calibrate_days and test_days"
            )
        if shares and abs(sum(shares) - 1) > 1e-9:  # noqa: PLR2004 - sums of decimal fractions
            raise ValueError(f"train + calibrate + test is {sum(shares):g}; it must be 1")
        return self

    @property
    def label_delay_seconds(self) -> float:
        """The label delay in the unit of the time column."""
        return self.label_delay_days * SECONDS_A_DAY


class Quarantine(Frozen):
    """How many rows may break the contract before the run stops."""

    max_share: Annotated[float, Field(ge=0, le=1)]


class Folds(Frozen):
    """Prequential folds inside the training window: models are compared and tuned on these, never on later rows."""

    count: Annotated[int, Field(ge=2, le=20)] = 4
    validate_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of the training window that the validation blocks cover together, its latest rows."""
    sample: Share = 1.0
    """The share of a fold's training rows that is learned from; validation takes all rows of its block."""


class Resampling(Frozen):
    """How the training rows, and only they, are rebalanced."""

    method: Literal["smote", "undersample", "class_weight", "none"]
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Frauds per legitimate row after resampling, by count or (class_weight) by weight; 0 changes nothing."""
    neighbours: Annotated[int, Field(ge=1)] = 5


class Model(Frozen):
    """XGBoost's parameters, under its own names but for `rounds` and `threads`. What is given is not tuned."""

    rounds: Annotated[int, Field(ge=1)] = 200
    max_depth: Annotated[int, Field(ge=1, le=16)] = 5
    learning_rate: Share = 0.08
    min_child_weight: Annotated[float, Field(ge=0)] = 5.0
    subsample: Share = 0.8
    colsample_bytree: Share = 0.8
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    max_bin: Annotated[int, Field(ge=2)] = 256
    tree_method: Literal["hist", "exact"] = "hist"
    """exact takes no categories."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Part of the declaration: the order of XGBoost's sums, hence the model's last bits, depends on it."""

    @property
    def on_one_core(self) -> Self:
        """The same parameters with one thread: where folds run side by side, threads only wait for each other."""
        return self.model_copy(update={"threads": 1})

    @property
    def pinned(self) -> frozenset[str]:
        """The parameters that the declaration gives, which tuning leaves alone."""
        return frozenset(self.model_fields_set)


class Compute(Frozen):
    """Where the stages run, and how much of the data they hold at once."""

    engine: Engine = "local"
    """dask: the scheduler that DASK_SCHEDULER_ADDRESS names, else a process for each core of this machine."""
    chunk_rows: Annotated[int, Field(ge=1_000)] = 250_000
    """Rows are read, checked, encoded and handed to XGBoost so many at a time. Quantiles of several chunks are merged,
    so the model's last digits depend on it."""
    external_memory: bool = False
    """Whether XGBoost keeps its matrix on the disk."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")] = "cpu"
    """XGBoost's own parameter; cuda needs the package xgboost in the place of xgboost-cpu."""

    @model_validator(mode="after")
    def _memory_is_the_cluster_s(self) -> Self:
        if self.engine == "dask" and self.external_memory:
            raise ValueError("engine is dask, whose workers hold the rows; external_memory must be false")
        return self


class Tuning(Frozen):
    """How the parameters that `model` leaves open are found."""

    mode: Literal["tpe", "grid", "none"]
    trials: Annotated[int, Field(ge=1)] = 25
    """With mode tpe: how many settings are tried, so that a run reproduces."""
    grid: dict[Literal[TUNED], Annotated[list[Any], Field(min_length=1)]] = {}  # type: ignore[valid-type]  # noqa: RUF012 - the tuple above; pydantic copies it
    """With mode grid: the values of each searched parameter; every combination is tried."""
    time_limit_minutes: Annotated[float, Field(gt=0)] | None = None
    """Stops the search early; what it finds then depends on the machine."""

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


class Costs(Frozen):
    """What decisions cost, in the unit of the amount."""

    amount: Name
    """The money field that is lost where a fraud is not flagged."""
    review: Annotated[float, Field(gt=0)]
    """What one alert costs, right or wrong."""


class Decision(Frozen):
    """The policy that picks the threshold: exactly one of recall, precision, review_rate, cost."""

    recall: Share | None = None
    """At least this share of the frauds is flagged."""
    precision: Share | None = None
    """At least this share of the flagged rows is fraud."""
    review_rate: Share | None = None
    """At most this share of all rows is flagged."""
    cost: Literal["lowest"] | None = None
    """The threshold at which missed amounts and reviews cost least; needs `costs`."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    """With recall or precision: how sure it is that the target holds for rows to come."""

    @model_validator(mode="after")
    def _is_one_policy(self) -> Self:
        given = sorted(self.model_dump(exclude_none=True, exclude={"confidence"}))
        if len(given) != 1:
            found = f"{' and '.join(given)} are given" if given else "no policy is given"
            raise ValueError(f"{found}; it must be exactly one of cost, precision, recall, review_rate")
        if self.confidence is not None and given[0] not in {"precision", "recall"}:
            raise ValueError(f"confidence is for recall and precision, the policy is {given[0]}; remove confidence")
        if self.confidence is not None and self.recall == 1:
            raise ValueError("recall is 1, of which no number of frauds can make sure; lower it, or remove confidence")
        return self


class Monitoring(Frozen):
    """When the monitor says watch or retrain; `training.monitoring.verdict` reads it."""

    block_days: Annotated[float, Field(gt=0)] = 7.0
    """The records are judged in blocks of so many days."""
    consecutive: Annotated[int, Field(ge=1)] = 2
    """How many blocks in a row must agree before the state changes, to worse or back."""
    unlabelled: Literal["unknown", "legitimate"] = "unknown"
    """What a prediction without an outcome is, once it is older than split.label_delay_days."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """A block with fewer predictions says nothing about drift."""
    min_frauds: Annotated[int, Field(ge=1)] = 30
    """A block with fewer known frauds says nothing about performance."""
    psi: Annotated[float, Field(gt=0)] = 0.1
    """The population stability index above which a feature or the score is watched."""
    missing: Annotated[float, Field(gt=0, le=1)] = 0.05
    """How much the share of missing, or of unseen, values may grow."""
    ratio: Annotated[float, Field(gt=1)] = 1.5
    """Alert rate and fraud rate are watched where they are more than so many times what they were, or its inverse."""
    pooled: Annotated[int, Field(ge=1)] = 4
    """How many blocks together say how well the model does: frauds are few."""
    recall_drop: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Retrain where the recall is surely lower by more; watch where it is only estimated to be."""
    calibration_ratio: Annotated[float, Field(gt=1)] = 1.5
    """Retrain where there are surely more than so many times the expected frauds, or fewer than its inverse."""
