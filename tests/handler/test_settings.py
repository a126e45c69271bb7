"""Settings: read from a mapping; an error has the variable, its value and the rule."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from handler.releases.signature import SignatureError, read_public_keys
from handler.settings import PACKAGED_BUNDLES, Settings

ROOT = Path(__file__).parents[2]
PUBLIC_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
WHOLE_NUMBER = "it must be a whole number above 0"
SECONDS = "it must be a number of seconds above 0"
SHARE = "it must be above 0 and at most 1"


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("MAX_BODY_BYTES", ("1e6", "-1", "٣", "9" * 5000), WHOLE_NUMBER),
        ("BODY_TIMEOUT_SECONDS", ("0", " 1", "1_0", "1.0"), WHOLE_NUMBER),
        ("STORE_BUDGET_MS", ("0", "50.5"), WHOLE_NUMBER),
        ("STORE_SECONDS", ("soon", "0", "-1", "nan", "inf"), SECONDS),
        ("PREDICTIONS_RATE", ("0", "1.01", "-0.5", "nan", "10 %"), SHARE),
        ("BASE_PATH", ("fraud", "fraud/"), "it must begin with /, such as /fraud"),
        ("METRICS", ("on", "EMF"), "it must be emf, or empty for none"),
    ],
)
def test_a_wrong_value_is_refused_with_the_rule(name: str, values: tuple[str, ...], rule: str) -> None:
    """One sentence: the variable, its value, the remedy."""
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} is ") as caught:
            Settings.from_environment({name: value})
        assert str(caught.value) == f"{name} is {value!r}; {rule}"


@pytest.mark.parametrize("value", ["dynamodb://", "dynamodb://ab", "dynamodb://fraud history", "dynamodb://a/b"])
def test_a_history_that_is_no_table_is_refused(value: str) -> None:
    """A value that does not begin with dynamodb:// is a file."""
    with pytest.raises(ValueError, match=r"^HISTORY is ") as caught:
        Settings.from_environment({"HISTORY": value})
    rule = "it must be a file, or a table of DynamoDB, such as dynamodb://fraud-history"
    assert str(caught.value) == f"HISTORY is {value!r}; {rule}"
    assert Settings.from_environment({"HISTORY": "dynamodb://fraud-history"}).history_table == "fraud-history"
    assert Settings.from_environment({"HISTORY": "history.db"}).history_table is None


def test_a_long_key_is_refused_and_not_quoted() -> None:
    """A hash takes no more than 64 bytes."""
    with pytest.raises(ValueError, match=r"^HISTORY_KEY: it has 65 bytes; it must have at most 64$"):
        Settings.from_environment({"HISTORY_KEY": "x" * 65})


@pytest.mark.parametrize("value", ["c2hvcnQ=", " "])
def test_a_wrong_public_key_is_named_and_not_quoted(value: str) -> None:
    """It would refuse every release. It may be a private key, pasted by mistake: no traceback shows it either."""
    with pytest.raises(SignatureError) as problem:
        read_public_keys(value)
    with pytest.raises(ValueError, match=r"^STORE_PUBLIC_KEY: ") as caught:
        Settings.from_environment({"STORE_PUBLIC_KEY": value})
    assert str(caught.value) == f"STORE_PUBLIC_KEY: {problem.value}"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("BUNDLES", "/srv/bundles", Path("/srv/bundles")),
        ("MAX_BODY_BYTES", "1000", 1000),
        ("BODY_TIMEOUT_SECONDS", "5", 5),
        ("CORS_ORIGINS", " https://a.example, ,https://b.example", ("https://a.example", "https://b.example")),
        ("BASE_PATH", "/fraud/", "/fraud"),
        ("METRICS", "emf", "emf"),
        ("STORE", "/srv/models", "/srv/models"),
        ("STORE_SECONDS", "0.5", 0.5),
        ("STORE_BUDGET_MS", "20", 20),
        ("STORE_PUBLIC_KEY", base64.b64encode(PUBLIC_KEY).decode(), (PUBLIC_KEY,)),
        ("OWN_ROUTES", "POST /outcomes,GET /models", ("POST /outcomes", "GET /models")),
        ("PREDICTIONS", "/srv/log", "/srv/log"),
        ("PREDICTIONS_RATE", "0.25", 0.25),
        ("PREDICTIONS_KEY", "ä", "ä".encode()),
    ],
)
def test_each_variable_sets_its_field(name: str, value: str, expected: Any) -> None:  # noqa: ANN401 - of each type
    """It sets no other field; an empty variable, or one with another name, leaves the defaults."""
    settings = Settings.from_environment({name: value, "PATH": "/usr/bin"})
    assert settings == Settings().model_copy(update={name.lower(): expected})
    assert settings != Settings()
    assert Settings.from_environment({name: ""}) == Settings()


def test_the_defaults() -> None:
    """The packaged bundles, no store, no metrics, no record."""
    assert Settings().model_dump() == {
        "bundles": PACKAGED_BUNDLES,
        "own_routes": (),
        "max_body_bytes": 1 << 20,
        "body_timeout_seconds": 10,
        "cors_origins": (),
        "base_path": "",
        "metrics": "",
        "store": "",
        "store_seconds": 30.0,
        "store_budget_ms": 50,
        "store_public_key": (),
        "history": "",
        "history_budget_ms": 50,
        "history_key": b"",
        "history_key_arn": "",
        "predictions": "",
        "predictions_rate": 1.0,
        "predictions_key": b"",
        "predictions_key_arn": "",
    }


def test_a_wrong_variable_stops_the_start() -> None:
    """The application reads the environment of its process, and the last line of its log is the error."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    run = subprocess.run(
        [sys.executable, "-c", "import handler.app"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment, "STORE_SECONDS": "soon"},
        check=False,
    )
    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == f"ValueError: STORE_SECONDS is 'soon'; {SECONDS}"
