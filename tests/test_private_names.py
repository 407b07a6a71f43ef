"""A class's private attributes are its own: other files ask by public names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import optlayers

PACKAGE = Path(optlayers.__file__).parent
# What `NamedTuple` documents; the underscore keeps it apart from the fields.
OF_TUPLES = {"_replace", "_fields", "_asdict", "_make", "_field_defaults"}
# torch has no public names for these; they are not ours to rename.
OF_TORCH = {"_C", "_functorch", "_standard_gamma", "_torchdynamo_disable", "_version"}
BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def defined(tree: ast.Module) -> set[str]:
    """Names that a file gives to functions, classes, their fields, and attributes of `self`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node):
            names.add(node.attr)
        if isinstance(node, ast.ClassDef):
            fields = [n for n in node.body if isinstance(n, ast.Assign | ast.AnnAssign)]
            inside = [n for field in fields for n in ast.walk(field) if isinstance(n, ast.Name)]
            names |= {n.id for n in inside if isinstance(n.ctx, ast.Store)}
    return names


def is_own(node: ast.Attribute) -> bool:
    value = node.value
    if isinstance(value, ast.Call):  # super()._name
        value = value.func
    return isinstance(value, ast.Name) and value.id in {"self", "cls", "super"}


def asked_for(node: ast.AST) -> object:
    """The attribute that an expression asks an object for that is not `self`."""
    if isinstance(node, ast.Attribute) and not is_own(node):
        return node.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
        return node.args[1].value if isinstance(node.args[1], ast.Constant) else None
    return None


def foreign_names(source: str) -> list[object]:
    """Private attributes of objects that are neither `self` nor of a class of this file."""
    tree = ast.parse(source)
    own = defined(tree) | OF_TUPLES | OF_TORCH
    asked = [asked_for(node) for node in ast.walk(tree)]
    return [name for name in asked if is_private(name) and name not in own]


def private_imports(source: str) -> Iterator[str]:
    """Private functions and classes, not files, that are imported from another file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level:
            yield from (a.name for a in node.names if is_private(a.name))


def test_no_file_reaches_into_private_attributes_of_another():
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for name in foreign_names(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_no_file_imports_private_names_of_another():
    for path in PACKAGE.rglob("*.py"):
        assert not list(private_imports(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize(
    "source",
    [
        "def f(P): return P._local['plans']",
        "def f(P): P._shared = {}",
        "def f(P): return getattr(P, '_local', None)",
        "class A:\n    def f(self): return self.polytope._local",
        "class A:\n    def f(self, other):\n        other._local = 1",
    ],
)
def test_reaching_into_another_class_is_seen(source):
    assert len(foreign_names(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def f(self): self._x = 1; return self._x",
        "class A:\n    _x: int = 0\n\ndef f(a): return a._x",
        "class A(B):\n    def _f(self): return super()._f()",
        "class A(B):\n    def f(self): return super()._f()",
        "def f(pair): return pair._replace(left=1)",
        "def f(x): return x.__class__",
        "def f(x): return getattr(x, 'name')",
    ],
)
def test_what_belongs_to_a_file_is_left_alone(source):
    assert not foreign_names(source)


def test_imports_of_private_names_are_seen_and_those_of_files_are_not():
    assert list(private_imports("from ._plan.blocks import Block, _key")) == ["_key"]
    assert not list(private_imports("from . import _kernels"))
    assert not list(private_imports("from .._plan.blocks import Block as Block"))
