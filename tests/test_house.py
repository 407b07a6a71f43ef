"""What the code promises to those who change it: who may touch what, and who asks which kind."""

import ast
from pathlib import Path

import pytest

import optlayers

PACKAGE = Path(optlayers.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Public in spite of their names (of named tuples), or nothing else to be had (of torch).
ALLOWED = {"_replace", "_fields", "_asdict", "_make", "_version", "_functorch"}


def foreign_private_attributes(tree: ast.Module) -> list[str]:
    """`x._name` where x is not `self`, `cls` or torch, and `_name` is nothing of this module."""
    own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    own |= {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    own |= {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute)
        and isinstance(n.ctx, ast.Store)
        and isinstance(n.value, ast.Name)
        and n.value.id in ("self", "cls")
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "torch")
        if not (of_self or node.attr.endswith("__") or node.attr in own | ALLOWED):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_no_module_reads_private_attributes_of_another(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # What `torch.compiler.disable` sets, too; there is no public name for it.
    allowed = "_torchdynamo_disable"
    assert not [f for f in foreign_private_attributes(tree) if not f.endswith(allowed)]


def test_foreign_private_attributes_are_seen():
    code = (
        "class A:\n    def f(self, other):\n        return self._x + other._x + other._y._replace()"
    )
    assert foreign_private_attributes(ast.parse(code)) == ["3: other._x", "3: other._y"]


def test_few_places_ask_which_kind_a_feasible_set_is():
    kinds = {"Polytope", "AbstractFeasibleSet", "PolytopeSet", "FeasibleSet"}
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
                names = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
                if names & kinds:
                    found.append(f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}")
    assert len(found) <= 7, found  # `as_set`, `as_polytope`, and checks of arguments
