"""Pickles and object arrays of strangers, read without running any of their code.

A pickle is a program: it may call anything that can be imported. Here it may make numpy arrays and numbers, and plain
containers of them; whatever else it names is refused, with the file and the name.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

_PLAIN = re.compile(r"[<>=|]?[?biufcSUO]\d*")


class Refused(ValueError):
    """A pickle that names something else than arrays, numbers and plain containers."""


def read_pickle(data: bytes, name: str) -> Any:
    """The content of a pickle: numbers, strings, bytes, None, lists, tuples, sets, dicts, numpy arrays and scalars.

    `name` is the file's, for messages. Raises Refused, naming what it wants to call, where it wants anything else; and
    ValueError where it is truncated or damaged.
    """
    return _load(io.BytesIO(data), name)


def read_array(data: bytes, name: str) -> np.ndarray:
    """The array of an `.npy` file, also one of objects (written with `allow_pickle`). Raises as `read_pickle`."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if not dtype.hasobject:
            return np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python, and raises of all kinds
        raise ValueError(f"{name} is truncated or damaged, or no .npy file: {error}") from error
    found = np.asarray(_load(file, name))
    if found.dtype != object or found.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{name} says that it holds objects of shape {shape}, and does not: it is damaged")
    return found.reshape(shape, order="F" if fortran else "C")


def _load(file: io.BytesIO, name: str) -> Any:
    try:
        return _Unpickler(file).load()
    except Refused as error:
        raise Refused(f"{name} {error}") from error
    except Exception as error:  # damaged pickles raise of all kinds
        raise ValueError(
            f"{name} is truncated or damaged and cannot be read: {type(error).__name__}: {error}"
        ) from error


class _Dtype:
    """A dtype of a pickle: of plain numbers, strings or objects, without fields.

    In place of numpy's own, whose `__setstate__` takes layouts that read memory where there is none.
    """

    def __init__(self, spec: object, align: object = False, copy: object = False) -> None:
        if not isinstance(spec, str) or not _PLAIN.fullmatch(spec):
            raise Refused(f"holds an array of type {spec!r}: only numbers, strings and objects are read")
        self.dtype = np.dtype(spec)

    def __setstate__(self, state: tuple) -> None:
        order, layout = state[1], state[2:5]
        if any(part is not None for part in layout):
            raise Refused("holds an array with fields: only plain ones are read")
        if order in ("<", ">", "="):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array whose content a pickle sets."""

    def __setstate__(self, state: tuple) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        version, shape, dtype, fortran, content = state
        if dtype.dtype.hasobject != isinstance(content, list):
            raise ValueError("an array of objects needs a list of them, and no other array does")
        if isinstance(content, list) and len(content) != math.prod(shape):  # numpy does not look
            raise ValueError(f"{len(content)} objects for an array of shape {shape}")
        super().__setstate__((version, shape, dtype.dtype, fortran, content))


def _ndarray(*_: object) -> None:
    """Stands for the name numpy.ndarray, an argument of `_reconstruct`; a call would give memory as it lies there."""
    raise Refused("is refused: it calls numpy.ndarray, which numpy's own pickles never do")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    if kind is not _ndarray or shape != (0,):
        raise Refused(f"is refused: it makes an array of kind {kind!r}, shape {shape!r}, as numpy never does")
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _scalar(dtype: _Dtype, content: bytes | str = b"") -> np.generic:
    if dtype.dtype.hasobject:
        raise Refused("holds a scalar of type object")
    if isinstance(content, str):
        content = content.encode("latin1")
    return np.frombuffer(content, dtype.dtype, 1)[0]


def _from_buffer(content: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _plain_bytes(kind: type) -> Callable:
    """bytes or bytearray of what a pickle holds: not of a number, which would be memory of any size."""

    def make(content: Any = b"", encoding: str = "latin1") -> bytes | bytearray:
        if not isinstance(content, bytes | bytearray | str | list | tuple):
            raise Refused(f"makes {kind.__name__} of {content!r}, as pickles of bytes never do")
        return kind(_encode(content, encoding) if isinstance(content, str) else content)

    return make


def _encode(text: str, encoding: str) -> bytes:
    """How protocols below 3 store bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"encodes text as {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable | type] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _ndarray,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
    **{
        (module, kind.__name__): _plain_bytes(kind)
        for module in ("builtins", "__builtin__")
        for kind in (bytes, bytearray)
    },
    **{(module, "complex"): complex for module in ("builtins", "__builtin__")},
    **{
        (f"numpy.{core}.{module}", name): made
        for core in ("core", "_core")
        for module, name, made in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise Refused(
                f"is refused: it wants {module}.{name}, and only numpy arrays, numbers and plain containers are read"
            )
        return _ALLOWED[module, name]
