"""Import order is reading order, and importing the package is cheap."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import optlayers
from optlayers import _kernels

PACKAGE = Path(optlayers.__file__).parent
# Rooms in reading order, and files of a room likewise: a file imports what stands before it.
TREE: dict[str, list[str]] = {
    "_errors": [],
    "_checks": [],
    "_deprecated": [],
    "_kernels": [
        "arrays",
        "folder",
        "progress",
        "threads",
        "untraced",
        "newton_constants",
        "rounding",
        "scores",
        "checks",
        "limits",
        "parts",
        "lean",
        "exponential",
        "lanes",
        "decisions",
        "active_arrays",
        "active_rows",
        "active_steps",
        "active_set",
        "arborescence",
        "chain",
        "eisner",
        "graphs",
        "hull",
        "hull_sparse",
        "hull_trees",
        "inside_outside",
        "inside_outside_slopes",
        "isotonic",
        "knapsack",
        "matrix_tree",
        "matrix_tree_slopes",
        "packing",
        "paths",
        "shortest_paths",
        "spanning",
        "spans",
        "sparse",
        "tags",
        "newton_arrays",
        "newton_step",
        "newton_search",
        "newton_residual",
        "newton",
        "thresholds",
        "transport",
        "trees",
    ],
    "_polytope": [
        "consistency",
        "arguments",
        "conflicts",
        "shapes",
        "integrality",
        "rows",
        "sources",
        "declared",
        "cvxpy_program",
        "cvxpy_sides",
        "cvxpy_rows",
        "cvxpy_verbs",
        "polytope",
        "joint",
        "algebra",
        "parameters",
        "constructors",
        "grids",
        "matrices",
        "stack",
        "words",
        "npz",
    ],
    "_plan": [
        "presolve",
        "consistency",
        "components",
        "plain",
        "blocks",
        "failures",
        "maps",
        "operators",
        "plan",
        "limits",
        "compile",
    ],
    "_paths": ["dag", "exact", "sums", "rows"],
    "_solvers": [],
    "_projections": [],
    "_decoders": [],
    "maps": [],
    "_counted": [],
    "_factored": [],
    "_masks": [],
    "_nonfinite": [],
    "_autograd": [],
    "_autograd_rows": [],
    "_by_plan": [],
    "_status": [],
    "_calls": [],
    "_options": [],
    "_abstract_set": [],
    "_feasible_set": [],
    "_no_gradient": [],
    "_wrapped": [],
    "_own_decoders": [],
    "_scores_aux": [],
    "_functional": ["plan", "project", "decode"],
    "_sums": [],
    "_judge": ["problem", "multipliers", "repair", "certificate", "references", "validate"],
    "_sets": [
        "masked",
        "padded",
        "lazy_rows",
        "hull",
        "trees",
        "graphs",
        "chains",
        "networks",
        "rankings",
    ],
    "_surrogates": [
        "steps",
        "oracles",
        "base",
        "derivatives",
        "straight_through",
        "diagnostics",
        "spigot",
        "multi_step",
        "softmax",
        "sparsemap",
        "spigot_eg",
        "blackbox",
        "identity",
        "lpgd",
        "noise",
        "gumbel",
        "perturbed",
        "imle",
        "pulled_back",
    ],
    "_losses": ["common", "margin", "fenchel_young", "regret", "reinforce"],
    "_layer": [],
    "plotting": [],
    "_enumerated": [],
    "testing": [],
    "_cli": [],
    "__main__": [],
}
ORDER = list(TREE)
HEAVY = [
    "osqp",
    "cvxpy",
    "highspy",
    "numba",
    "clarabel",
    "rich",
    "cvxpylayers",
    "matplotlib",
    "scipy.optimize",
]
MODULES = [
    p for p in sorted(PACKAGE.rglob("*.py")) if p.relative_to(PACKAGE) != Path("__init__.py")
]


def relative_imports(path: Path) -> list[tuple[str, ...]]:
    """Parts of every module of the package that a file imports, wherever in the file."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            names = [node.module.split(".")] if node.module else [[a.name] for a in node.names]
            found += [(*base, *name) for name in names]
    return found


def absolute_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return names | {
        n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_upwards(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert own in ORDER, f"{own} has no place in the reading order"
    for target in relative_imports(path):
        assert target[0] in ORDER, f"{path.name} imports {'.'.join(target)}"
        assert ORDER.index(target[0]) <= ORDER.index(own), f"{path.name} imports {target[0]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_files_of_a_room_stand_in_order(path):
    room, *rest = path.relative_to(PACKAGE).with_suffix("").parts
    files = TREE[room]
    if not files or not rest or rest[0] == "__init__":
        return
    assert rest[0] in files, f"{path.name} has no place in {room}"
    for target in relative_imports(path):
        if target[0] == room and len(target) > 1:
            assert files.index(target[1]) <= files.index(rest[0]), f"{path.name}: {target[1]}"


def test_imports_within_a_module_are_seen():
    sources = {target[0] for target in relative_imports(PACKAGE / "testing.py")}
    assert {"_judge", "_polytope"} <= sources


def test_no_module_imports_the_package_by_name():
    for path in MODULES:
        assert not [n for n in absolute_imports(path) if n.split(".")[0] == "optlayers"], path


def place(parts: list[str]) -> tuple[int, int]:
    room, files = ORDER.index(parts[0]), TREE[parts[0]]
    return room, files.index(parts[1]) if files and parts[1:] else 0


def test_public_names_are_private_modules_in_reading_order():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    modules = [n.module or n.names[0].name for n in imports]
    positions = [place(m.split(".")) for m in modules]
    assert positions == sorted(positions)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            assert all(alias.asname == alias.name for alias in node.names)


def test_contributors_are_shown_the_rooms_in_reading_order():
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = re.findall(r"^    (\w+)/?(?:  .*)?$", page, re.MULTILINE)
    assert shown == ORDER


def test_only_the_compiled_loops_import_numba():
    using = {p.parent.name for p in MODULES if "numba" in absolute_imports(p)}
    assert using == {"_kernels"}


def test_loops_have_no_examples_which_nobody_would_run():
    folder = PACKAGE / "_kernels"  # pytest does not look there, see pyproject.toml
    assert not [p.name for p in folder.glob("*.py") if ">>>" in p.read_text(encoding="utf-8")]


def test_loops_are_found_by_name_and_nothing_else_is():
    assert callable(_kernels.eisner.decode)
    with pytest.raises(AttributeError, match="no loops called 'no_such_loops'"):
        _ = _kernels.no_such_loops
    assert not hasattr(_kernels, "__wrapped__")


def test_a_failing_import_of_loops_is_not_taken_for_missing_loops(monkeypatch):
    monkeypatch.delattr(_kernels, "trees", raising=False)
    monkeypatch.delitem(sys.modules, "optlayers._kernels.trees", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ModuleNotFoundError, match="numba"):
        _ = _kernels.trees


def test_compiled_functions_stand_at_the_top_level():
    """A compiled function that closes over another one is never found in the cache again."""
    parts = {"lean", "inlined", "called", "exact", "exact_inlined", "kernel", "part"}
    for path in sorted((PACKAGE / "_kernels").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            inner = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)]
            for found in inner:
                decorators = [ast.unparse(d) for d in found.decorator_list]
                if any("njit" in d or d in parts for d in decorators):
                    assert found is node, f"{path.name}: {found.name}"
                    assert decorators[0] in parts or "cache=True" in decorators[0], found.name


def run(code: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("COVERAGE_PROCESS_START", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=PACKAGE.parent,
    )
    return done.stdout.strip()


NAMES = "; import sys; print(*sys.modules)"


def test_import_loads_no_solver():
    # Some builds of torch load a heavy module themselves; only what we add counts.
    seen = "import sys; print(sorted(set(sys.modules) & set({!r})))"
    before = ast.literal_eval(run("import torch; " + seen.format(HEAVY)))
    after = ast.literal_eval(run("import optlayers; " + seen.format(HEAVY)))
    assert set(after) <= set(before)


def test_import_loads_no_more_than_it_needs():
    # What takes time is other people's modules: there are none but those of torch and scipy.sparse.
    needed = set(run("import torch, scipy.sparse.csgraph" + NAMES).split())
    found = set(run("import optlayers" + NAMES).split()) - needed
    assert "optlayers._layer" in found
    assert {name for name in found if name.split(".")[0] != "optlayers"} == set()
    assert not found & {"optlayers.plotting", "optlayers.testing", "optlayers._cli"}
