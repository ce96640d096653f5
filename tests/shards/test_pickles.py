"""The restricted unpickler: what it reads, what it refuses."""

import io
import os
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from shards.pickles import Refused, read_array, read_pickle

PLAIN: dict[Any, Any] = {
    "array": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 17, 3)),
    "bools": np.array([True, False]),
    "words": np.array(["T pose", "walk"]),
    "objects": np.array([{"human_name": "aria01", "keypoints": np.ones((17, 3))}, None], dtype=object),
    "scalars": [np.float64(0.1), np.int64(-3), np.bool_(True)],
    "containers": ({1, 2}, frozenset("a"), OrderedDict(a=1), b"\xff\x00", None, 2**70, 1j, "text"),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(b, np.ndarray):
        if b.dtype == object:
            return a.shape == b.shape and all(map(same, a.ravel(), b.ravel()))
        alike = a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")  # numpy may turn bytes to the machine's order
        return alike and a.shape == b.shape and bool((np.asarray(a) == b).all())
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_numbers_and_containers_of_every_protocol(protocol: int) -> None:
    assert same(read_pickle(pickle.dumps(PLAIN, protocol), "a.cpl"), PLAIN)


def test_pickles_of_python_2_and_numpy_1() -> None:
    """As older numpy names its functions, with the strings of Python 2 as bytes of latin-1."""
    data = pickle.dumps(np.arange(3.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert same(read_pickle(data, "a.cpl"), np.arange(3.0))
    assert read_pickle(b"(dp0\nS'w\\xe9'\np1\nI5\ns.", "a.cpl") == {"wé": 5}


class Call:
    def __init__(self, *how: Any) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return self.how


class Local:
    pass


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Call(os.system, ("true",)), r"(posix|nt)\.system"),
        (Call(eval, ("1",)), r"(__builtin__|builtins)\.eval"),
        (Call(getattr, ("a", "upper")), r"(__builtin__|builtins)\.getattr"),
        (Call(np.load, ("x.npy",)), r"numpy.*load"),
        (Local(), r"(test_pickles\.Local|copy_reg\._reconstructor)"),
        (Call(np.ndarray, ((4,),)), r"numpy\.ndarray"),
        (np.zeros(2, [("a", "f4"), ("b", "O")]), "type"),
        (np.zeros(2, "M8[s]"), "type"),
        (Call(np.dtype, ("f8,O",)), "type"),
    ],
)
def test_all_else_is_refused_by_name_and_nothing_of_it_runs(content: Any, named: str) -> None:
    for protocol in (0, 2, 4):
        with pytest.raises(Refused, match=rf"subject9\.cpl .*{named}"):
            read_pickle(pickle.dumps({"pose": [1, content]}, protocol), "subject9.cpl")


RECONSTRUCT, START = np.zeros(1).__reduce__()[:2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Call(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)), "type 'V8'"),
        (Call(np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)), "fields"),
        (Call(RECONSTRUCT, START, (1, (3,), np.dtype("O"), False, [None])), "1 objects for"),
        (Call(RECONSTRUCT, START, (1, (1,), np.dtype("O"), False, b"12345678")), "list"),
        (Call(RECONSTRUCT, START, (1, (1000,), np.dtype("f8"), False, b"12345678")), "damaged"),
        (Call(RECONSTRUCT, (np.ndarray, (10**9,), b"b")), "as numpy never does"),
    ],
)
def test_arrays_that_reach_beyond_their_content_are_refused(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.cpl.*{message}"):
        read_pickle(pickle.dumps(content, 4), "a.cpl")


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -1])
def test_truncated_pickles_are_named(cut: int) -> None:
    with pytest.raises(ValueError, match=r"a\.cpl is truncated or damaged"):
        read_pickle(pickle.dumps(PLAIN)[:cut], "a.cpl")


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_npy_files_of_numbers_and_of_objects() -> None:
    for array in (PLAIN["array"], PLAIN["fortran"], PLAIN["objects"], np.array({"aria01": np.ones(3)}, dtype=object)):
        assert same(read_array(npy(array), "00001.npy"), array)
    for data in (npy(PLAIN["objects"])[:-5], npy(PLAIN["array"])[:-5], b"", b"\x93NUMPY\x01", b"PK"):
        with pytest.raises(ValueError, match=r"00001\.npy"):
            read_array(data, "00001.npy")
    with pytest.raises(Refused, match=r"00001\.npy .*system"):
        read_array(npy(np.array([Call(os.system, ("true",))], dtype=object)), "00001.npy")
    header = npy(np.array([None, None], dtype=object))
    wrong = header.replace(b"(2,)", b"(9,)")
    with pytest.raises(ValueError, match=r"00001\.npy says"):
        read_array(wrong, "00001.npy")
