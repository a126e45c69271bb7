"""The environment of child processes that are not measured for coverage; tracing would take a fifth of their time."""

import os


def coverage_variables() -> list[str]:
    """The names of the variables that make coverage measure the processes that a test starts."""
    return [name for name in os.environ if name.startswith("COV")]


def unmeasured_environment() -> dict[str, str]:
    """The environment of this process without these variables."""
    variables = coverage_variables()
    return {name: value for name, value in os.environ.items() if name not in variables}
