"""The function with XGBoost's Python package, and so numpy and scipy, in place of its C library.

The rest is the handler's own code. Its module is replaced whole, so that its library cannot be loaded by any way.
"""

import sys

from benchmarks.serving import xgboost_booster

sys.modules["handler.scoring.booster"] = xgboost_booster

from handler.app import app, handler  # noqa: E402 - only now does it find the other booster

__all__ = ["app", "handler"]
