"""Deployment settings, read from the environment once; template.yaml and docs/deploy.md list the variables."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from handler.releases.signature import read_public_keys
from handler.scoring.fields import Frozen

TABLE = "dynamodb://"
KEYS = ("history_key", "predictions_key")
MOST_KEY_BYTES = 64
PACKAGED_BUNDLES = Path(__file__).parent.parent / "build" / "bundles"


def _whole_number(text: str) -> int | str:
    """The number in a text of plain ASCII digits; any other text unchanged, which the strict field then refuses."""
    return int(text) if text.isascii() and text.isdecimal() else text


def _items(text: str) -> tuple[str, ...]:
    """The items of a comma-separated list."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _file_or_table(address: str) -> str:
    if address.startswith(TABLE) and not re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", address.removeprefix(TABLE)):
        raise ValueError("not the name of a table")
    return address


def _short_key(key: bytes) -> bytes:
    # The hash takes no longer keys. The message must not quote the key.
    if len(key) > MOST_KEY_BYTES:
        raise ValueError(f"it has {len(key)} bytes; it must have at most {MOST_KEY_BYTES}")
    return key


WholeNumber = Annotated[int, BeforeValidator(_whole_number), Field(gt=0, description="be a whole number above 0")]


SecretArn = Annotated[
    str,
    Field(
        pattern=r"^arn:aws[a-z-]*:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:|ssm:[a-z0-9-]+:[0-9]{12}:parameter/).+$",
        description="be the ARN of a secret of Secrets Manager or of a parameter of Systems Manager",
    ),
]


class Settings(Frozen):
    """The settings of a deployment, each from the environment variable with the field's name in capitals.

    A field's description completes the error message: "MAX_BODY_BYTES is '-1'; it must be a whole number above 0".
    """

    bundles: Annotated[Path, Field(strict=False)] = PACKAGED_BUNDLES
    max_body_bytes: WholeNumber = 1 << 20
    body_timeout_seconds: WholeNumber = 10
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_items)] = ()
    base_path: Annotated[
        str,
        Field(pattern="^/", description="begin with /, such as /fraud"),
        AfterValidator(lambda path: path.rstrip("/")),
    ] = ""
    own_routes: Annotated[tuple[str, ...], BeforeValidator(_items)] = ()
    """The methods and paths for which the gateway has separate routes with their own authorisation."""
    metrics: Annotated[Literal["", "emf"], Field(description="be emf, or empty for none")] = ""
    store: str = ""
    store_seconds: Annotated[float, Field(gt=0, strict=False, description="be a number of seconds above 0")] = 30.0
    store_budget_ms: WholeNumber = 50
    store_public_key: Annotated[tuple[bytes, ...], BeforeValidator(read_public_keys)] = ()
    history: Annotated[
        str,
        AfterValidator(_file_or_table),
        Field(description="be a file, or a table of DynamoDB, such as dynamodb://fraud-history"),
    ] = ""
    history_budget_ms: WholeNumber = 50
    history_key: Annotated[bytes, Field(strict=False), AfterValidator(_short_key)] = b""
    history_key_arn: SecretArn = ""
    """The ARN under which the key is kept, instead of the key itself."""
    predictions: str = ""
    predictions_rate: Annotated[float, Field(gt=0, le=1, strict=False, description="be above 0 and at most 1")] = 1.0
    predictions_key: Annotated[bytes, Field(strict=False)] = b""
    predictions_key_arn: SecretArn = ""
    """As above."""

    @model_validator(mode="after")
    def _keys_are_single(self) -> Self:
        for name in KEYS:
            if getattr(self, name) and getattr(self, f"{name}_arn"):
                raise ValueError(f"{name.upper()} and {name.upper()}_ARN are both set; leave one of them empty")
        return self

    def key(self, name: str) -> bytes:
        """One of KEYS, read by its ARN if that is set; raises ValueError if it cannot be read, or is too long."""
        if not (arn := getattr(self, f"{name}_arn")):
            given: bytes = getattr(self, name)
            return given
        from handler.history.secret import read_secret  # noqa: PLC0415 - only deployments that set an ARN need it

        try:
            key = read_secret(arn)
            return _short_key(key) if name == "history_key" else key
        except ValueError as error:
            raise ValueError(f"{name.upper()}_ARN: {error}") from error

    @property
    def history_table(self) -> str | None:
        """The table of DynamoDB that HISTORY names; None if it names a file or is empty."""
        return self.history.removeprefix(TABLE) if self.history.startswith(TABLE) else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The settings of an environment; a variable that is empty or missing leaves the default.

        Raises ValueError that names the variable and what it must be, with its value unless that may be a key.
        """
        given = {name: value for name in cls.model_fields if (value := environment.get(name.upper()))}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problem = error.errors()[0]
        # Raised outside the except clause, so that pydantic's error, which would quote a key, is not chained to it.
        if not problem["loc"]:
            raise ValueError(str(problem["ctx"]["error"]))
        name = str(problem["loc"][0])
        if rule := cls.model_fields[name].description:
            raise ValueError(f"{name.upper()} is {given[name]!r}; it must {rule}")
        raise ValueError(f"{name.upper()}: {problem['ctx']['error']}")


SETTINGS = Settings.from_environment(os.environ)
