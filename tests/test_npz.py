"""Polytopes in files: what is saved is read again, and what is malformed is refused in one line."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import __main__ as cli
from optlayers._polytope import npz

from .helpers import RAW, raw_simplex, raw_spans


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("polytope", RAW.values(), ids=RAW)
def test_saved_polytopes_are_read_again(polytope, tmp_path):
    npz.save(polytope, tmp_path / "set")
    again = npz.load(tmp_path / "set")
    assert repr(again) == repr(polytope)
    for name in ("A", "A_eq"):
        assert (getattr(again, name) != getattr(polytope, name)).nnz == 0
    for name in ("b", "b_eq", "lower", "upper"):
        torch.testing.assert_close(getattr(again, name), getattr(polytope, name), rtol=0, atol=0)


def test_batches_and_flags_are_saved(tmp_path):
    polytope = raw_spans(3, 2, 1).with_(b=torch.rand(2, 5), integral=False)
    npz.save(polytope, tmp_path / "set.npz")
    again = npz.load(str(tmp_path / "set.npz"))
    assert (again.batch_shape, again.num_aux, again.integral) == ((2,), 3, False)


def test_dense_arrays_are_read(tmp_path, capsys):
    path = tmp_path / "set.npz"
    np.savez(path, A=np.array([[1, 1, 0], [0, 1, 1]]), b=np.array([1, 1]))
    assert repr(npz.load(path)) == "Polytope(n=3, rows=2, integral)"
    code, out, err = run(capsys, "explain", path)
    assert (code, err) == (0, "")
    assert "3 variables" in out
    code, out, _ = run(capsys, "validate", path, "--samples", 3, "--against", "osqp")
    assert code == 0, out


ROWS = {
    "A_data": np.ones(2),
    "A_indices": np.array([0, 1]),
    "A_indptr": np.array([0, 2]),
    "A_shape": np.array([1, 2]),
    "b": np.ones(1),
}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "needs rows `A` or `A_eq`"),
        ({"A": np.ones((1, 2))}, "`A` has 1 rows; give `b` with 1 entries"),
        ({"A": np.ones((1, 2)), "b": np.array([np.nan])}, "`b` must be finite or inf"),
        ({"A": np.ones((1, 2)), "c": np.ones(2)}, "unknown array 'c'; the names are A, A_data"),
        ({"A": np.array([["x"]]), "b": np.ones(1)}, "`A` must be a matrix of numbers"),
        ({"A": np.array([{}], dtype=object)}, "Object arrays cannot be loaded"),
        (
            {"upper": np.ones(2), "num_aux": np.ones(2)},
            r"`num_aux` must be one value. Got shape \(2,\)",
        ),
        ({"upper": np.ones(2), "num_aux": np.array("x")}, "`num_aux` must be an integer. Got 'x'"),
        ({"upper": np.ones(3), "num_aux": np.array(1.7)}, "`num_aux` must be an integer. Got 1.7"),
        ({"upper": np.ones(3), "num_aux": np.array(np.nan)}, "`num_aux` must be an integer"),
        ({"upper": np.ones(3), "integral": np.array(0.5)}, "`integral` must be true or false"),
        (ROWS | {"A_shape": np.array([1, 10**9])}, "1000000000 columns, and there are no bounds"),
        (ROWS | {"A_shape": np.array([10**9, 2])}, "A_indptr must have one entry more"),
        (ROWS | {"A_data": np.ones(3)}, "does not hold a polytope: "),
        (ROWS | {"A_indices": np.array([0, 7])}, "does not hold a polytope: .*ind"),
        (ROWS | {"A_indices": np.array([0, -1])}, "does not hold a polytope: .*ind"),
        (ROWS | {"A_shape": np.array([1])}, r"A_shape must have two entries. Got shape \(1,\)"),
        (ROWS | {"A": np.ones((1, 2))}, "`A` is given twice, dense and in parts"),
        ({k: v for k, v in ROWS.items() if k != "A_indptr"}, "`A` lacks its part A_indptr"),
    ],
)
def test_malformed_files_are_refused_in_one_line(arrays, message, tmp_path, capsys):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(ol.PolytopeError, match=message) as caught:
        npz.load(path)
    assert str(caught.value).startswith(f"{path} does not hold a polytope: ")
    code, out, err = run(capsys, "explain", path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_files_that_are_no_archive(content, tmp_path, capsys):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    code, _, err = run(capsys, "validate", path)
    assert code == 2
    assert err.startswith(f"error: {path} does not hold a polytope: ")
    assert err.count("\n") == 1


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "set.npy", np.ones(3))
    with pytest.raises(ol.PolytopeError, match=r"a single array, not an \.npz archive"):
        npz.load(tmp_path / "set.npy")


def test_a_cut_file_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    npz.save(raw_simplex(200), path)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(ol.PolytopeError, match="does not hold a polytope"):
            npz.load(path)
    broken = bytearray(whole)
    broken[60:120] = bytes(60)
    path.write_bytes(broken)
    with pytest.raises(ol.PolytopeError, match="does not hold a polytope"):
        npz.load(path)


def test_a_missing_file(tmp_path, capsys):
    code, _, err = run(capsys, "explain", tmp_path / "none.npz")
    assert code == 2
    assert "No such file" in err


def test_an_infeasible_file(tmp_path, capsys):
    npz.save(raw_simplex(2, total=-1.0), tmp_path / "set.npz")
    code, _, err = run(capsys, "validate", tmp_path / "set.npz", "--samples", 2)
    assert code == 2
    assert "In conflict: A_eq[0]" in err


def lying_archive(path, shape, member_size=None):
    """An .npz of a few bytes whose one array claims `shape`."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("upper.npy", header.getvalue() + bytes(16))
        if member_size is not None:  # what the directory says, which is written on closing
            archive.infolist()[0].file_size = member_size + len(header.getvalue())


@pytest.mark.parametrize("member_size", [None, 8 * 10**9])
def test_a_small_file_that_asks_for_much_memory_is_refused(tmp_path, member_size):
    path = tmp_path / "set.npz"
    lying_archive(path, (10**9,), member_size)
    assert path.stat().st_size < 1000
    tracemalloc.start()
    with pytest.raises(ol.PolytopeError, match=r"upper\.npy claims 8000000000 bytes"):
        npz.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**7


def test_a_failed_save_leaves_the_good_file(tmp_path, monkeypatch):
    path = tmp_path / "set.npz"
    npz.save(raw_simplex(3), path)

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        npz.save(raw_simplex(4), path)
    assert npz.load(path).n == 3
    assert [p.name for p in tmp_path.iterdir()] == ["set.npz"]
