from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.io import pickles
from avloc.io.pickles import read_plain_pickle, read_saved_object


@pytest.fixture
def load(tmp_path):
    """A function: bytes → the value that the reader makes of a file with them."""

    def read(data: bytes, **options):
        (tmp_path / "x.pkl").write_bytes(data)
        return read_plain_pickle(tmp_path / "x.pkl", "prediction file", **options)

    return read


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays_of_every_protocol(load, protocol):
    array = np.array([[1.5, -2.0, 3.25], [4.0, 5.0, 6.0]])
    value = {
        "names": ["a", "a", "ü", ""],
        "numbers": (1, -(2**40), 0.25, True, False, None, b"\x00\xff", b""),
        "rows": array,
        "again": array,
        "big-endian": np.arange(3, dtype=">i4"),
        "fortran": np.asfortranarray(array),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3), dtype=np.float32),
        "scalar": np.float64(0.5),
        "nested": {"list": [[], [1], {}, ()]},
    }
    result = load(pickle.dumps(value, protocol=protocol))
    assert list(result) == list(value)
    for name in ("rows", "again", "big-endian", "fortran", "flags", "none"):
        assert isinstance(result[name], np.ndarray)
        assert result[name].shape == value[name].shape
        assert np.array_equal(result[name], value[name])
    for name in ("names", "numbers", "scalar", "nested"):
        assert result[name] == value[name]


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch.__func__, (self.path,)


class Attributes:
    def __init__(self):
        self.x = 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_file_is_not_run(load, tmp_path, protocol):
    for value in (Harmful(tmp_path / "touched"), [Harmful(tmp_path / "touched")], Attributes(), print, np.save):
        with pytest.raises(AvlocError, match=r"x\.pkl: a pickle that is not read: it (names|holds more than)"):
            load(pickle.dumps(value, protocol=protocol))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("value", [np.array(["a", None], dtype=object), np.array(["a"]), np.zeros(2, dtype="f8,i4")])
def test_arrays_of_other_things_than_numbers_are_refused(load, value):
    with pytest.raises(AvlocError, match=r"x\.pkl: a pickle that is not read: an array of"):
        load(pickle.dumps(value, protocol=4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"(" * 5_000_000 + b".", "more than 1000 containers within one another"),
        (b"]" * 2_000_000 + b".", "more than 1000000 lists, tuples"),
        (b"\x80\x04Nr\xff\xff\xff\xff.", None),  # a place in the memo far away: nothing is allocated for it
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.", "damaged"),  # bytes that claim a terabyte
        (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.", "damaged"),
        (b"I" + b"9" * 10_000 + b"\n.", "damaged"),
        (b"\x80\x04}(N)(N)s.", "damaged"),
        (b"\x80\x04}](N)Ns.", "damaged"),
        (b"\x80\x04}]Ns.", "neither texts nor numbers"),
        (b"\x80\x04cnumpy\nndarray\n.", "unfinished array or a type"),
        (b"\x80\x04]cnumpy\ndtype\na.", "unfinished array or a type"),
        (b"\x80\x04cnumpy\nndarray\n)R.", "it calls numpy.ndarray in a way"),
        (b"\x80\x04N}b.", "it sets attributes"),
        (b"\x80\x04NNR.", "it calls something"),
        (b"\x80\x04cos\nsystem\n.", "it names 'os.system'"),
        (b"\x80\x04\x82\x01.", "instruction EXT1"),
        (b"Pname\n.", "instruction PERSID"),
        (b"(inumpy\nndarray\n.", "instruction INST"),
        (b"", "damaged"),
        (b".", "damaged"),
        (b"text", "damaged"),
        (b"\x80\x04h\x07.", "damaged"),
        (b"\x80\x04Nu.", "damaged"),
        (b"\x80\x04\x86.", "damaged"),
        (b"\x80\x04c_codecs\nencode\nK\x05\x8c\x06latin1\x86R.", "damaged"),  # a number for a text
        (b"\x80\x04cnumpy\ndtype\n" + b")" + b"\x85" * 100_000 + b"R.", "damaged"),  # a name in 100,000 tuples
    ],
)
def test_hostile_and_damaged_files_are_one_line(load, data, message):
    if message is None:
        assert load(data) is None
        return
    with pytest.raises(AvlocError, match=message) as error:
        load(data)
    assert "\n" not in str(error.value)


def test_an_array_that_claims_a_terabyte_is_refused(load):
    data = pickle.dumps(np.zeros(1), protocol=2)
    claimed = data.replace(b"(K\x01K\x01\x85", b"(K\x01\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85", 1)
    assert claimed != data
    with pytest.raises(AvlocError, match=r"an array of shape \(1099511627776,\) of float64 has 8 bytes"):
        load(claimed)


def test_containers_that_hold_one_another_are_read_once(load):
    value: list = [0]
    for _ in range(60):  # 2 ** 60 paths
        value = [value, value]
    result = load(pickle.dumps(value))
    assert result[0] is result[1]
    data = io.BytesIO()
    data.write(b"]" * 100_000 + b"a" * 99_999 + b".")  # 100,000 lists, one within the other
    assert len(load(data.getvalue())) == 1


def test_limits_of_size(load, monkeypatch):
    with pytest.raises(AvlocError, match="want a pickle of at most 10 bytes"):
        load(pickle.dumps(list(range(10))), max_bytes=10)
    monkeypatch.setattr(pickles, "MAX_INSTRUCTIONS", 5)
    with pytest.raises(AvlocError, match="more than 5 instructions"):
        load(pickle.dumps(list(range(10))))


def test_every_prefix_and_every_changed_byte_is_a_value_or_one_line(load):
    data = pickle.dumps({"video-id": ["a", "a"], "score": np.array([0.5, 0.25])}, protocol=4)
    for k in range(len(data)):
        for damaged in (data[:k], data[:k] + bytes([data[k] ^ 0x55]) + data[k + 1 :]):
            try:
                load(damaged)
            except AvlocError as error:
                assert "\n" not in str(error)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(AvlocError, match="no such prediction file"):
        read_plain_pickle(tmp_path / "none.pkl", "prediction file")
    with pytest.raises(AvlocError, match="is a folder, want a prediction file"):
        read_plain_pickle(tmp_path, "prediction file")


def save(tmp_path, value, **options):
    np.save(tmp_path / "x.npy", np.array(value, dtype=object), **options)
    return tmp_path / "x.npy"


@pytest.mark.parametrize(
    "labels", [["1", "0"], np.array(["1", "0"]), np.array(["long", "ü"]), np.array([1, 0]), np.zeros(0, "U1")]
)
def test_a_saved_dictionary_of_texts_and_numbers(tmp_path, labels):
    result = read_saved_object(save(tmp_path, {"a": labels, "b": [1.5]}), "label file")
    assert list(result) == ["a", "b"]
    assert np.array_equal(result["a"], labels)


def test_a_saved_object_runs_no_code(tmp_path):
    with pytest.raises(AvlocError, match=r"x\.npy: a pickle that is not read: it (names|holds more than)"):
        read_saved_object(save(tmp_path, {"a": Harmful(tmp_path / "harm")}), "label file")
    assert not (tmp_path / "harm").exists()


def test_other_npy_files_are_one_line(tmp_path):
    np.save(tmp_path / "n.npy", np.zeros(3))
    with pytest.raises(
        AvlocError, match=r"n\.npy: want a label file with one dictionary, got an array of float64 of shape \(3,\)"
    ):
        read_saved_object(tmp_path / "n.npy", "label file")
    with pytest.raises(AvlocError, match="want a label file with one dictionary, got an array of object of shape"):
        read_saved_object(save(tmp_path, [{}, {}]), "label file")
    with pytest.raises(AvlocError, match="an array of objects, want numbers or one dictionary"):
        read_saved_object(save(tmp_path, {"a": np.array([{}], dtype=object)}), "label file")
    path = save(tmp_path, {"a": ["1"]})
    for size in (0, 5, 60, 140):
        path.write_bytes(path.read_bytes()[:size] if size else b"")
        with pytest.raises(AvlocError, match=r"not a \.npy file, or a damaged one|not a pickle file") as error:
            read_saved_object(path, "label file")
        assert "\n" not in str(error.value)
        path = save(tmp_path, {"a": ["1"]})
    with pytest.raises(AvlocError, match="no such label file"):
        read_saved_object(tmp_path / "none.npy", "label file")
