"""Where the library may be: modes of torch, default devices, odd arrays, read-only folders."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import optlayers as ol

POLYTOPES = {
    "simplex": lambda: ol.simplex(3),
    "one row": lambda: ol.cardinality(3, at_most=2),
    "knapsack": lambda: ol.budget([1.0, 2.0], 2.0),
    "assignment": lambda: ol.assignment(2),
    "heads": lambda: ol.head_selection(2),
    "path": lambda: ol.dag_path(3, [(0, 1), (1, 2), (0, 2)], 0, 2),
    "spans": lambda: ol.spans(4, 2, 1),
    "rows": lambda: ol.Polytope([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 1.0]),
    "batch": lambda: ol.cardinality(3, at_most=torch.tensor([1, 2], device="cpu")),
}
STRUCTURES = {
    "trees": lambda: ol.DependencyTrees([2, 3]),
    "all trees": lambda: ol.DependencyTrees([2, 3], projective=False),
    "tree rows": lambda: ol.DependencyTrees([2, 3], relaxation="single-commodity"),
    "tree hull": lambda: ol.DependencyTrees([2, 3], relaxation="hull"),
    "graphs": lambda: ol.SemanticGraphs([2, 3], labels=2),
    "tags": lambda: ol.LinearChain([2, 3], tags=2),
    "segments": lambda: ol.Segmentation([3, 2], 2, 2, mask=[True, False]),
    "ways": lambda: ol.GraphPaths(3, [(0, 1), (1, 2), (0, 2)], 0, torch.tensor(2, device="cpu")),
    "spanning trees": lambda: ol.SpanningTrees(3, mask=[[True] * 3, [True, True, False]]),
    "ranking": lambda: ol.Rankings(3, mask=[[True] * 3, [True, True, False]]),
    "lazy rows": lambda: ol.LazyRows(ol.box(3), lambda _: (np.ones((1, 3)), [1.0])),
}
SETS = POLYTOPES | STRUCTURES
SUMS = (ol.DependencyTrees, ol.Segmentation, ol.GraphPaths, ol.SpanningTrees)


def event_shape(feasible_set) -> tuple[int, ...]:
    return (feasible_set.n,) if isinstance(feasible_set, ol.Polytope) else feasible_set.event_shape


def use(feasible_set, scores: torch.Tensor) -> list[torch.Tensor]:
    """What every verb makes of scores, with gradients if they require one."""
    layer = ol.StructuredArgmax(feasible_set, ol.SPIGOT(around="projection"))
    found = [layer(scores), ol.project(feasible_set, scores)]
    if isinstance(feasible_set, SUMS):
        found += [feasible_set.log_partition(scores), feasible_set.marginals(scores)]
    if scores.requires_grad:
        torch.stack([(v * v).sum() for v in found]).sum().backward()
        found.append(scores.grad)
    return found


def scores_of(feasible_set) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(0)
    shape = (2, *event_shape(feasible_set))
    return torch.randn(shape, generator=generator, device="cpu", dtype=torch.float64)


@pytest.mark.parametrize("name", SETS)
def test_a_default_device_changes_nothing(name):
    expected = use(SETS[name](), scores_of(SETS[name]()).requires_grad_())
    with torch.device("meta"):
        made = SETS[name]()
        found = use(made, scores_of(made).requires_grad_())
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_trained_with_after_inference(name):
    with torch.inference_mode():
        made = SETS[name]()
        use(made, scores_of(made))
    expected = use(SETS[name](), scores_of(made).requires_grad_())
    found = use(made, scores_of(made).requires_grad_())
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", SETS)
def test_a_default_dtype_changes_nothing(name, dtype):
    expected = use(SETS[name](), scores_of(SETS[name]()).requires_grad_())
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = use(SETS[name](), scores_of(SETS[name]()).requires_grad_())
    finally:
        torch.set_default_dtype(before)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


# ---------------------------------------------------------------------- arrays


def odd_views(values: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays equal to `values` that torch cannot read as they lie in memory."""
    wide = np.repeat(values, 2, axis=-1)
    read_only = values.copy()
    read_only.flags.writeable = False
    return {
        "backwards": values[..., ::-1].copy()[..., ::-1],
        "every second": wide[..., ::2],
        "read-only": read_only,
        "other byte order": values.astype(values.dtype.newbyteorder(">")),
        "of objects": values.astype(object),
    }


@pytest.mark.parametrize("view", list(odd_views(np.ones(2))))
def test_arrays_are_read_however_they_lie_in_memory(view):
    A, b = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), np.array([1.0, 0.5])
    upper = np.array([1.0, 0.5, 0.25])
    odd = [odd_views(v)[view] for v in (A, b, upper)]
    found = ol.Polytope(odd[0], odd[1], upper=odd[2])
    assert (found.A.toarray() == A).all()
    assert found.b.tolist() == b.tolist()
    assert found.upper.tolist() == upper.tolist()
    weights = odd_views(np.array([3.0, 1.0, 2.0]))[view]
    assert ol.budget(weights, 3.0).A.toarray().tolist() == [[3.0, 1.0, 2.0]]


@pytest.mark.parametrize("view", ["backwards", "every second", "read-only", "other byte order"])
def test_lengths_and_masks_are_read_however_they_lie_in_memory(view):
    lengths = odd_views(np.array([2, 3]))[view]
    assert ol.DependencyTrees(lengths).lengths.tolist() == [2, 3]
    assert ol.SemanticGraphs(lengths, labels=2).lengths.tolist() == [2, 3]
    mask = odd_views(np.array([True, False, True]))[view]
    assert ol.spans(3, 1, 1, mask=mask).upper[:3].tolist() == [1, 0, 1]


VERBS = {
    "decode": ol.decode,
    "project": ol.project,
    "layer": lambda s, x: ol.StructuredArgmax(s)(x),
    "function": ol.structured_argmax,
}


@pytest.mark.parametrize("kind", [np.asarray, list])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["simplex", "rows", "trees", "graphs"])
def test_what_is_no_tensor_is_refused_in_the_same_words(name, verb, kind):
    made = SETS[name]()
    found = kind(np.zeros(event_shape(made)))
    word = "y" if verb == "project" else "scores"
    message = rf"`{word}` must be a tensor of floats\. Got {type(found).__name__}\."
    with pytest.raises(ol.InputError, match=message):
        VERBS[verb](made, found)


# ---------------------------------------------------------------------- vmap


@pytest.mark.parametrize("verb", VERBS)
def test_vmap_is_refused_in_words(verb):
    with pytest.raises(ol.InputError, match=r"comes from torch\.vmap .* without vmap"):
        torch.vmap(lambda x: VERBS[verb](ol.simplex(3), x))(torch.zeros(2, 3))


def test_batched_gradients_of_a_layer_are_refused_in_words():
    scores = torch.randn(2, 3, requires_grad=True)
    z = ol.StructuredArgmax(ol.simplex(3))(scores)
    with pytest.raises(ol.InputError, match="the gradient of the layer"):
        torch.autograd.grad(z, scores, torch.eye(6).reshape(6, 2, 3), is_grads_batched=True)


def test_batched_gradients_of_a_projection_are_refused_in_words():
    y = torch.randn(3, requires_grad=True)
    z = ol.project(ol.simplex(3), y)
    with pytest.raises(ol.InputError, match="the gradient of a projection"):
        torch.autograd.grad(z, y, torch.eye(3), is_grads_batched=True)


@pytest.mark.parametrize("name", ["simplex", "one row", "assignment", "rows"])
def test_jacobians_by_torch_func_are_those_row_by_row(name):
    made = POLYTOPES[name]()
    y = scores_of(made)[0].requires_grad_()
    z = ol.project(made, y)
    rows = [torch.autograd.grad(z, y, e, retain_graph=True)[0] for e in torch.eye(made.n).double()]
    found = torch.func.jacrev(lambda x: ol.project(made, x))(y.detach())
    torch.testing.assert_close(found, torch.stack(rows))


# ---------------------------------------------------------------------- folders

NOWHERE = """
import warnings
import numba.core.caching as caching
for name, locator in vars(caching).items():
    if name.endswith("Locator") and "UserProvided" not in name:
        locator.from_function = classmethod(lambda *_: None)
import torch, optlayers as ol
import optlayers._kernels.folder
optlayers._kernels.folder.places = lambda: []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(ol.project(ol.simplex(3), torch.tensor([1.0, 0.5, -1.0])).tolist())
print(*[str(w.message) for w in caught])
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    clean = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=clean | environment,
        check=False,
    )


@pytest.mark.slow
def test_a_package_that_cannot_be_written_beside_still_compiles(tmp_path):
    done = run(NOWHERE, TMPDIR=str(tmp_path))
    assert done.stdout.startswith("[0.75, 0.25, 0.0]\n"), done.stderr
    assert "Set NUMBA_CACHE_DIR to a folder that can be written" in done.stdout
    assert not list(tmp_path.iterdir())  # what was compiled for one process is gone with it


def test_no_folder_at_all_is_an_error_that_names_the_variable():
    broken = NOWHERE.replace(
        "import torch", "import tempfile; tempfile.mkdtemp = open\nimport torch"
    )
    broken = broken.replace("mkdtemp = open", "mkdtemp = lambda **_: open('/nowhere/at/all')")
    done = run(broken)
    assert done.returncode
    assert "Set NUMBA_CACHE_DIR to a folder that can be written" in done.stderr
