"""Deployment facts, read from the environment once. template.yaml and the README list them."""

import os
from pathlib import Path

from handler.releases.signature import SignatureError, read_public_keys


def _whole_number(name: str, text: str | None, default: int) -> int:
    """The setting's number; ValueError where it is not a whole one above 0."""
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ValueError(f"{name} is {text!r}; it must be a whole number above 0")
    return int(text)


def _seconds(name: str, text: str | None, default: float) -> float:
    """The setting's number; ValueError where it is none above 0."""
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{name} is {text!r}; it must be a number of seconds above 0")
    return seconds


def _share(name: str, text: str | None) -> float:
    """The setting's number, 1 by default; ValueError where it is not above 0 and at most 1."""
    try:
        share = float(text) if text else 1.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(f"{name} is {text!r}; it must be above 0 and at most 1")
    return share


def _base_path(text: str) -> str:
    """The path without a slash at its end; ValueError where it does not begin with one."""
    if text and not text.startswith("/"):
        raise ValueError(f"BASE_PATH is {text!r}; it must begin with /, such as /fraud")
    return text.rstrip("/")


def _metrics(text: str) -> bool:
    if text not in {"", "emf"}:
        raise ValueError(f"METRICS is {text!r}; it must be emf, or empty for none")
    return bool(text)


def _public_keys(text: str) -> tuple[bytes, ...]:
    try:
        return read_public_keys(text)
    except SignatureError as error:
        raise ValueError(f"STORE_PUBLIC_KEY: {error}") from error


BUNDLES = Path(os.environ.get("BUNDLES") or Path(__file__).parent.parent / "build" / "bundles")
MAX_BODY_BYTES = _whole_number("MAX_BODY_BYTES", os.environ.get("MAX_BODY_BYTES"), 1 << 20)
BODY_TIMEOUT_SECONDS = _whole_number("BODY_TIMEOUT_SECONDS", os.environ.get("BODY_TIMEOUT_SECONDS"), 10)
CORS_ORIGINS = tuple(origin.strip() for origin in os.environ.get("CORS_ORIGINS", "").split(",") if origin.strip())
BASE_PATH = _base_path(os.environ.get("BASE_PATH", ""))
METRICS = _metrics(os.environ.get("METRICS", ""))
STORE = os.environ.get("STORE", "")
STORE_SECONDS = _seconds("STORE_SECONDS", os.environ.get("STORE_SECONDS"), 30)
STORE_BUDGET_MS = _whole_number("STORE_BUDGET_MS", os.environ.get("STORE_BUDGET_MS"), 50)
STORE_PUBLIC_KEY = _public_keys(os.environ.get("STORE_PUBLIC_KEY", ""))
PREDICTIONS = os.environ.get("PREDICTIONS", "")
PREDICTIONS_RATE = _share("PREDICTIONS_RATE", os.environ.get("PREDICTIONS_RATE"))
PREDICTIONS_KEY = os.environ.get("PREDICTIONS_KEY", "").encode()
