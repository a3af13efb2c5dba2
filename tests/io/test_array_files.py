from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.io.array_files import encode_array, open_array

VALUES = np.arange(15, dtype=np.float32).reshape(5, 3)


def save(path, arrays):
    """Write named arrays in the form that the suffix tells."""
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    else:
        torch.save({name: torch.from_numpy(values) for name, values in arrays.items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".h5"])
def test_arrays_by_name(tmp_path, suffix):
    one = save(tmp_path / f"one{suffix}", {"features": VALUES})
    assert np.array_equal(open_array(one), VALUES)
    assert np.array_equal(open_array(one, "features"), VALUES)
    two = save(tmp_path / f"two{suffix}", {"audio_features": VALUES, "video_features": VALUES[:2]})
    assert open_array(two, "video_features").shape == (2, 3)
    with pytest.raises(AvlocError, match=r"name one of its arrays \(--key\), it has: audio_features, video_features"):
        open_array(two)
    with pytest.raises(AvlocError, match=r"has no array 'x' \(--key\), it has: audio_features, video_features"):
        open_array(two, "x")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".pth", ".h5", ".hdf5"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "uint8"])
def test_encoding_is_the_inverse_of_reading(tmp_path, suffix, dtype):
    path, values = tmp_path / f"x{suffix}", VALUES.astype(dtype)[:, ::2]
    path.write_bytes(encode_array(values, suffix))
    assert open_array(path).dtype == dtype
    assert np.array_equal(open_array(path), values)


def test_names_of_encoded_arrays(tmp_path):
    for suffix in (".npz", ".pt", ".h5"):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(encode_array(VALUES, suffix, "audio_features"))
        assert np.array_equal(open_array(path, "audio_features"), VALUES)
        path.write_bytes(encode_array(VALUES, suffix))
    assert np.load(tmp_path / "x.npz").files == ["features"]
    assert list(h5py.File(tmp_path / "x.h5")) == ["features"]
    assert isinstance(torch.load(tmp_path / "x.pt", weights_only=True), torch.Tensor)
    with pytest.raises(AvlocError, match="a .npy file has one array without a name, got 'a'; leave the key out"):
        encode_array(VALUES, ".npy", "a")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".h5"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04abc", b"\x89HDF\r\n\x1a\nabc"])
def test_damaged_files_are_one_line(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(AvlocError, match="not a|damaged") as error:
        open_array(path)
    assert "\n" not in str(error.value)


def test_tensors_of_torch(tmp_path):
    torch.save(torch.from_numpy(VALUES), tmp_path / "x.pt")
    assert np.array_equal(open_array(tmp_path / "x.pt"), VALUES)
    torch.save(torch.from_numpy(VALUES).to(torch.bfloat16).requires_grad_(), tmp_path / "x.pth")
    assert open_array(tmp_path / "x.pth").dtype == np.float32
    torch.save([1, 2], tmp_path / "x.pt")
    with pytest.raises(AvlocError, match="want a tensor, or a dictionary of tensors, got list"):
        open_array(tmp_path / "x.pt")


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch.__func__, (self.path,)


def test_no_code_of_a_file_is_run(tmp_path):
    torch.save({"a": Harmful(tmp_path / "harm")}, tmp_path / "x.pt")
    np.savez(tmp_path / "x.npz", a=np.array([Harmful(tmp_path / "harm")], dtype=object))
    for name in ("x.pt", "x.npz"):
        with pytest.raises(AvlocError, match="not a"):
            open_array(tmp_path / name)
    assert not (tmp_path / "harm").exists()


def test_arrays_outside_of_the_file_and_bombs_are_refused(tmp_path):
    save(tmp_path / "other.h5", {"secret": VALUES})
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["group/inner"] = VALUES
        file["link"] = h5py.ExternalLink("other.h5", "secret")
    assert np.array_equal(open_array(tmp_path / "x.h5"), VALUES)
    with pytest.raises(AvlocError, match="has no array 'link'"):
        open_array(tmp_path / "x.h5", "link")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("a", (1 << 30, 4), dtype="f4", chunks=(1024, 4))
    with pytest.raises(AvlocError, match="claims more than a file of this size may hold"):
        open_array(tmp_path / "bomb.h5")
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros((1 << 20, 4), np.float32))
    with pytest.raises(AvlocError, match="its array a claims 16777344 bytes"):
        open_array(tmp_path / "bomb.npz")
