"""XGBoost's C library through ctypes: margins and exact contributions without numpy or the Python package.

The calls and their JSON arguments follow XGBoost's documented C API (xgboost/c_api.h). Training uses the same library,
so the numbers agree to the last bit.
"""

import ctypes
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

LIBRARY = Path("xgboost") / "lib" / "libxgboost.so"
_MARGIN = 1
_CONTRIBUTIONS = 2
_UINT64_P = ctypes.POINTER(ctypes.c_uint64)
_FLOAT_P = ctypes.POINTER(ctypes.c_float)


class BoosterError(RuntimeError):
    """Raised when XGBoost's library is missing or a call fails."""


def _load_library() -> ctypes.CDLL:
    for folder in sys.path:
        path = Path(folder, LIBRARY)
        if path.is_file():
            library = ctypes.CDLL(str(path))
            library.XGBGetLastError.restype = ctypes.c_char_p
            return library
    raise BoosterError(f"{LIBRARY} is not in any folder of sys.path; install xgboost-cpu")


def library_version() -> str:
    """The version of XGBoost's library, such as 3.4.1."""
    numbers = [ctypes.c_int() for _ in range(3)]
    _load_library().XGBoostVersion(*map(ctypes.byref, numbers))
    return ".".join(str(number.value) for number in numbers)


def _config(prediction_type: int) -> bytes:
    # json.dumps writes NaN, which XGBoost's parser accepts.
    return json.dumps(
        {
            "type": prediction_type,
            "training": False,
            "iteration_begin": 0,
            "iteration_end": 0,
            "missing": float("nan"),
            "strict_shape": True,
            "cache_id": 0,
        }
    ).encode()


class Booster:
    """A loaded model, which scores float32 rows one at a time or in batches."""

    def __init__(self, model: bytes, feature_types: Sequence[str]) -> None:
        """Load a model from the bytes of its UBJSON file, with the types from `handler.scoring.features.feature_types`.

        Raises BoosterError if XGBoost cannot read it, or if its number of features differs.
        """
        self._library = _load_library()
        self._handle, self._proxy = ctypes.c_void_p(), ctypes.c_void_p()
        self._width = len(feature_types)
        self._types = (ctypes.c_char_p * self._width)(*(name.encode() for name in feature_types))
        self._margin_config = _config(_MARGIN)
        self._contributions_config = _config(_CONTRIBUTIONS)
        # The buffer of one row and its description are allocated once; the lock makes their use exclusive.
        self._lock = Lock()
        self._row = (ctypes.c_float * self._width)()
        self._row_interface = self._interface(self._row, 1)
        self._shape, self._dimensions, self._result = _UINT64_P(), ctypes.c_uint64(), _FLOAT_P()
        self._outputs = (ctypes.byref(self._shape), ctypes.byref(self._dimensions), ctypes.byref(self._result))
        self._call("XGBoosterCreate", None, ctypes.c_uint64(0), ctypes.byref(self._handle))
        self._call("XGBoosterLoadModelFromBuffer", self._handle, model, ctypes.c_uint64(len(model)))
        self._call("XGBoosterSetParam", self._handle, b"nthread", b"1")
        # Kept, because XGBoost would otherwise make one for each prediction, and read files about processors for it.
        self._call("XGProxyDMatrixCreate", ctypes.byref(self._proxy))
        n_features = ctypes.c_uint64()
        self._call("XGBoosterGetNumFeature", self._handle, ctypes.byref(n_features))
        if n_features.value != self._width:
            raise BoosterError(f"the model has {n_features.value} features; the contract declares {self._width}")

    def __del__(self) -> None:
        """Free the model, which is outside Python's memory."""
        if getattr(self, "_proxy", None):
            self._library.XGDMatrixFree(self._proxy)
        if getattr(self, "_handle", None):
            self._library.XGBoosterFree(self._handle)

    def margin(self, vector: list[float]) -> float:
        """The model's raw margin (log-odds before calibration) for one vector."""
        with self._lock:
            self._row[:] = vector  # type: ignore[assignment]  # ctypes takes floats for c_float
            self._predict_dense(self._row_interface)
            return float(self._result[0])

    def margins(self, vectors: Sequence[Sequence[float]]) -> list[float]:
        """The margins of several vectors, in order; each equals `margin` of its vector."""
        return self._margins(self._flat(vectors), len(vectors))

    def changed_margins(self, vector: Sequence[float], changes: Sequence[Mapping[int, float]]) -> list[float]:
        """The margins of a vector after each of several changes; a change has the new values by feature."""
        row = (ctypes.c_float * self._width)(*vector)
        rows = (ctypes.c_float * (self._width * len(changes))).from_buffer(bytearray(row) * len(changes))
        for number, change in enumerate(changes):
            for feature, value in change.items():
                rows[number * self._width + feature] = value
        return self._margins(rows, len(changes))

    def contributions(self, vectors: Sequence[Sequence[float]]) -> list[list[float]]:
        """Per vector, the exact contribution of each feature to the margin, then the bias (TreeSHAP, Lundberg 2020)."""
        matrix = ctypes.c_void_p()
        rows = self._flat(vectors)
        config = b'{"missing": NaN, "nthread": 1}'
        interface = self._interface(rows, len(vectors))
        self._call("XGDMatrixCreateFromDense", interface, config, ctypes.byref(matrix))
        try:
            self._call("XGDMatrixSetStrFeatureInfo", matrix, b"feature_type", self._types, ctypes.c_uint64(self._width))
            with self._lock:
                self._call(
                    "XGBoosterPredictFromDMatrix", self._handle, matrix, self._contributions_config, *self._outputs
                )
                width = self._width + 1
                flat = self._result[: len(vectors) * width]
        finally:
            self._call("XGDMatrixFree", matrix)
        return [flat[start : start + width] for start in range(0, len(flat), width)]

    def model_json(self) -> dict[str, Any]:
        """The whole model as XGBoost's JSON."""
        length, content = ctypes.c_uint64(), ctypes.c_char_p()
        config = b'{"format": "json"}'
        with self._lock:
            self._call("XGBoosterSaveModelToBuffer", self._handle, config, ctypes.byref(length), ctypes.byref(content))
            text = ctypes.string_at(content, length.value)
        model: dict[str, Any] = json.loads(text)
        return model

    def _margins(self, rows: "ctypes.Array[ctypes.c_float]", n_rows: int) -> list[float]:
        with self._lock:
            self._predict_dense(self._interface(rows, n_rows))
            return [float(value) for value in self._result[:n_rows]]

    def _flat(self, vectors: Sequence[Sequence[float]]) -> "ctypes.Array[ctypes.c_float]":
        return (ctypes.c_float * (len(vectors) * self._width))(*(value for vector in vectors for value in vector))

    def _interface(self, rows: "ctypes.Array[ctypes.c_float]", n_rows: int) -> bytes:
        """The array interface (numpy's protocol, as JSON) of a row-major float32 buffer."""
        return json.dumps(
            {"data": [ctypes.addressof(rows), True], "shape": [n_rows, self._width], "typestr": "<f4", "version": 3}
        ).encode()

    def _predict_dense(self, interface: bytes) -> None:
        self._call(
            "XGBoosterPredictFromDense", self._handle, interface, self._margin_config, self._proxy, *self._outputs
        )

    def _call(self, function: str, *arguments: object) -> None:
        if getattr(self._library, function)(*arguments) != 0:
            message = self._library.XGBGetLastError().decode(errors="replace").strip().splitlines()
            raise BoosterError(f"{function}: {message[0] if message else 'unknown error'}")
