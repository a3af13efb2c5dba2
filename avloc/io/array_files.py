"""A file of one clip's features (.npy, .npz, .pt, .h5) > an array of numbers, without running code from the file; and back."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError, one_line

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".h5", ".hdf5")
DEFAULT_KEY = "features"
"""Name of the array in .npz and .h5 files that avloc writes."""
MAX_BYTES = 1 << 32
"""A larger array is refused, but of a .npy file, which is mapped."""
MAX_EXPANSION = 200
"""A compressed part that claims to be more than this many times as large as the file is refused."""


def open_array(path: Path, key: str | None = None) -> npt.NDArray[Any]:
    """Read an array of numbers; that of a .npy file is mapped into memory.

    Args:
        path: the file; its suffix, one of `SUFFIXES`, tells the form.
        key: name of the array in a file that may hold several; None: the only one.

    Raises:
        AvlocError: if the file is damaged, holds something else or no array of that name; lists the names.
    """
    if path.suffix == ".npy":
        return _open_npy(path)
    if path.suffix == ".npz":
        return _read_npz(path, key)
    return _read_hdf5(path, key) if path.suffix in (".h5", ".hdf5") else _read_torch(path, key)


def _open_npy(path: Path) -> npt.NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise AvlocError(f"not a .npy file of numbers ({one_line(error)})") from error


def _read_npz(path: Path, key: str | None) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            name = choose_key(arrays.files, key)
            size = arrays.zip.getinfo(f"{name}.npy" if f"{name}.npy" in arrays.zip.namelist() else name).file_size
            if size > min(MAX_BYTES, MAX_EXPANSION * path.stat().st_size):
                raise AvlocError(f"its array {name} claims {size} bytes, more than a file of this size may hold")
            return np.asarray(arrays[name])
    except (ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise AvlocError(f"not a .npz file of arrays of numbers ({one_line(error)})") from error


def _read_torch(path: Path, key: str | None) -> npt.NDArray[Any]:
    import torch

    from avloc.io.weights import load_file

    content = load_file(path)
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = tensors[choose_key(list(tensors), key)]
    if not isinstance(content, torch.Tensor):
        raise AvlocError(f"want a tensor, or a dictionary of tensors, got {type(content).__name__}")
    values = content.detach()
    return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).numpy())


def _read_hdf5(path: Path, key: str | None) -> npt.NDArray[Any]:
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            names: list[str] = []  # links to other places are not followed
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            table = file[choose_key(names, key)]
            if table.is_virtual or table.external or table.shape is None:
                raise AvlocError(f"{table.name} is no array within the file")
            if table.size * table.dtype.itemsize > min(MAX_BYTES, MAX_EXPANSION * path.stat().st_size):
                raise AvlocError(f"its array {table.name} claims more than a file of this size may hold")
            return np.asarray(table[()])
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise AvlocError(f"not an HDF5 file of arrays of numbers ({one_line(error)})") from error


def encode_array(values: npt.NDArray[Any], suffix: str, key: str | None = None) -> memoryview:
    """Return the content of a file that `open_array` reads.

    It goes through memory, because the writers of numpy and PyTorch hide the number of the system's error.

    Args:
        values: numbers.
        suffix: one of `SUFFIXES`, which tells the form.
        key: name of the array; None: `features` in .npz and .h5 files, and in .pt files a tensor without a name.

    Raises:
        AvlocError: if a key is given for a .npy file, whose array has no name.
    """
    buffer = io.BytesIO()
    if suffix == ".npy":
        if key is not None:
            raise AvlocError(f"a .npy file has one array without a name, got {key!r}; leave the key out, or write .npz")
        np.save(buffer, values, allow_pickle=False)
    elif suffix == ".npz":
        arrays: dict[str, Any] = {key or DEFAULT_KEY: values}
        np.savez(buffer, **arrays)
    elif suffix in (".h5", ".hdf5"):
        import h5py

        with h5py.File(buffer, "w") as file:
            file[key or DEFAULT_KEY] = values
    else:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(values))
        torch.save(tensor if key is None else {key: tensor}, buffer)
    return buffer.getbuffer()


def choose_key(names: list[str], key: str | None) -> str:
    """Return the name of the array that is meant.

    Raises:
        AvlocError: if no such array exists, or none was named and there are several; lists the names.

    >>> choose_key(["features"], None), choose_key(["audio_features", "video_features"], "audio_features")
    ('features', 'audio_features')
    """
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        cure = "name one of its arrays (--key)" if key is None else f"has no array {key!r} (--key)"
        raise AvlocError(f"{cure}, it has: {', '.join(names[:8]) or 'none'}")
    return key
