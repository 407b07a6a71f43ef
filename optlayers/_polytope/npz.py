"""Polytopes in files: arrays in .npz, read without pickle."""

import contextlib
import math
import os
import threading
import zipfile
from os import PathLike
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from .._errors import PolytopeError
from .polytope import Polytope, as_polytope
from .rows import Rows

_VALUES = ("b", "b_eq", "lower", "upper")
_SCALARS = ("num_aux", "integral")
_PARTS = ("data", "indices", "indptr", "shape")
_MOST_SQUEEZED = 1100  # deflate packs at most 1032 bytes into one
_MOST_COLUMNS = 10**7  # of a file that holds no bounds of that length


def save(polytope: Polytope, path: str | PathLike[str]) -> None:
    """Write a polytope to a compressed .npz file.

    Rows are stored as the parts of a CSR matrix (`A_data`, `A_indices`, `A_indptr`, `A_shape`, and
    likewise for `A_eq`), the rest under the names of the arguments of `Polytope`. Where rows differ
    from instance to instance, those of one are below those of the one before, and `rows_batch`
    holds their batch dimensions.
    """
    as_polytope(polytope, "save")
    _check_path(path)
    arrays: dict[str, Any] = {name: getattr(polytope, name).cpu().numpy() for name in _VALUES}
    arrays |= {name: np.asarray(getattr(polytope, name)) for name in _SCALARS}
    arrays["shape"] = np.asarray(polytope.shape)
    if polytope.rows_batch:
        arrays["rows_batch"] = np.asarray(polytope.rows_batch, dtype=np.int64)
    for name in ("A", "A_eq"):
        rows = getattr(polytope, name)
        arrays |= {f"{name}_{part}": np.asarray(getattr(rows, part)) for part in _PARTS}
    folder, name = os.path.split(os.path.abspath(path))
    # Beside the target, then renamed: a full disk does not cost what was there before.
    beside = os.path.join(folder, f".{name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with open(beside, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def load(path: str | PathLike[str]) -> Polytope:
    """Read a polytope from an .npz file.

    Arrays are named as the arguments of `Polytope`: `A`, `b`, `A_eq`, `b_eq`, `lower`, `upper`,
    `num_aux`, `integral`, `shape`, each optional as there. `A` and `A_eq` are dense, or in the
    parts that `save` writes. Nothing is unpickled, so a file from a stranger cannot run code, and
    sizes are checked before anything is allocated, so it cannot fill the memory either.

    Raises:
        PolytopeError: If the file is not such an .npz or declares no polytope; names the file.
        OSError: If the file cannot be opened.
    """
    _check_path(path)
    if os.path.isdir(path):
        raise PolytopeError(f"{path} does not hold a polytope: it is a directory")
    try:
        with open(path, "rb") as stream:  # numpy would leave a broken archive open
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise PolytopeError("it holds a single array, not an .npz archive")
            assert file.zip is not None
            for info in file.zip.infolist():
                _check_size(file.zip, info)
            arrays = {name: file[name] for name in file.files}
        batch = _rows_batch(arrays.pop("rows_batch", None))
        return Polytope(**_split(_arguments(arrays), batch))
    except OSError:
        raise
    except Exception as error:  # zip, zlib, numpy and scipy raise a dozen kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PolytopeError(f"{path} does not hold a polytope: {reason}") from error


def _check_path(path: Any) -> None:
    """Refuse what is no path; a number would be taken for an open file."""
    if not isinstance(path, str | PathLike):
        raise PolytopeError(f"`path` must be the path of an .npz file. Got {path!r}.")


def _check_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Refuse an array that claims more than the file can hold, before it is made."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise PolytopeError(f"{info.filename} is in version {version} of the format")
        first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        header = member.tell()
    if dtype.hasobject:
        raise PolytopeError("Object arrays cannot be loaded")
    claimed = math.prod(shape) * dtype.itemsize
    held = min(info.file_size, _MOST_SQUEEZED * info.compress_size) - header
    if claimed != info.file_size - header or claimed > held:
        raise PolytopeError(
            f"{info.filename} claims {claimed} bytes, shape {shape}, and the file holds {held}"
        )


def _arguments(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    known = {*_VALUES, *_SCALARS, "A", "A_eq", "shape"}
    known |= {f"{name}_{part}" for name in ("A", "A_eq") for part in _PARTS}
    if unknown := sorted(set(arrays) - known):
        raise PolytopeError(
            f"unknown array {unknown[0]!r}; the names are {', '.join(sorted(known))}"
        )
    result: dict[str, Any] = {name: arrays[name] for name in _VALUES if name in arrays}
    for name in ("A", "A_eq"):
        rows = _rows(arrays, name)
        if rows is not None:
            result[name] = rows
    for name, whole in (("num_aux", int), ("integral", bool)):
        if name in arrays:
            many = name == "integral" and arrays[name].dtype == bool and arrays[name].size > 1
            result[name] = arrays[name] if many else _scalar(name, arrays[name], whole)
    if "shape" in arrays:
        result["shape"] = _sizes(arrays["shape"])
    _check_columns(result)
    return result


def _rows_batch(array: np.ndarray | None) -> tuple[int, ...]:
    """Read the batch dimensions of rows."""
    if array is None:
        return ()
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array < 1).any():
        raise PolytopeError(f"`rows_batch` must be positive integers. Got {array!r}")
    return tuple(int(k) for k in array)


def _split(arguments: dict[str, Any], batch: tuple[int, ...]) -> dict[str, Any]:
    """Give the rows of each instance to that instance."""
    for name in ("A", "A_eq"):
        rows, count = arguments.get(name), math.prod(batch)
        if batch and rows is not None:
            if rows.ndim != 2 or rows.shape[0] % count:
                raise PolytopeError(
                    f"`{name}` must have a multiple of {count} rows, those of a batch {batch}. "
                    f"Got shape {rows.shape}"
                )
            arguments[name] = Rows(sp.csr_array(rows, dtype=np.float64), torch.Size(batch))
    return arguments


def _scalar(name: str, array: np.ndarray, kind: type) -> Any:
    """Read one number that `kind` holds without a change."""
    if array.size != 1:
        raise PolytopeError(f"`{name}` must be one value. Got shape {array.shape}")
    value = array.item()
    wanted = "true or false" if kind is bool else "an integer"
    is_number = isinstance(value, bool | int | float) and math.isfinite(value)
    if not is_number or kind(value) != value:
        raise PolytopeError(f"`{name}` must be {wanted}. Got {value!r}")
    return kind(value)


def _sizes(array: np.ndarray) -> list[int]:
    """Read the shape of a point."""
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.size > 32:
        raise PolytopeError(f"`shape` must be a list of sizes. Got shape {array.shape}")
    return array.tolist()


def _check_columns(arguments: dict[str, Any]) -> None:
    """Refuse rows that are wide on paper alone: bounds of their width would fill the memory."""
    shapes = {k: arguments[k].shape for k in ("A", "A_eq", "lower", "upper") if k in arguments}
    widths = [shapes[k][-1] for k in ("A", "A_eq") if len(shapes.get(k, ())) == 2]
    held = [shapes[k][-1] for k in ("lower", "upper") if shapes.get(k)]
    if widths and max(widths) > max([_MOST_COLUMNS, *held]):
        raise PolytopeError(
            f"its rows have {max(widths)} columns, and there are no bounds of that length"
        )


def _rows(arrays: dict[str, np.ndarray], name: str) -> Any:
    parts = {part: f"{name}_{part}" for part in _PARTS if f"{name}_{part}" in arrays}
    if not parts:
        return arrays.get(name)
    if missing := [part for part in _PARTS if part not in parts]:
        raise PolytopeError(f"`{name}` lacks its part {name}_{missing[0]}")
    if name in arrays:
        raise PolytopeError(f"`{name}` is given twice, dense and in parts")
    data, indices, indptr, shape = (arrays[parts[part]] for part in _PARTS)
    if shape.shape != (2,):
        raise PolytopeError(f"{name}_shape must have two entries. Got shape {shape.shape}")
    if len(indptr) != shape[0] + 1:
        raise PolytopeError(
            f"{name}_indptr must have one entry more than {name} has rows, {shape[0]}. "
            f"Got {len(indptr)}"
        )
    rows = sp.csr_array((data, indices, indptr), shape=tuple(int(s) for s in shape))
    rows.check_format(full_check=True)  # indices out of range would be read out of bounds
    return rows
