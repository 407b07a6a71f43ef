"""What the code promises to those who change it: who may touch what, and who asks which kind."""

import ast
import re
import sys
from pathlib import Path

import pytest
import torch

import optlayers

PACKAGE = Path(optlayers.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Public in spite of their names (of named tuples), or nothing else to be had (of torch, of numba).
ALLOWED = {"_replace", "_fields", "_asdict", "_make", "_version", "_functorch"}
ALLOWED |= {"_reload_init", "_get_module_for_linking"}


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
    assert len(found) <= 8, found  # `as_set`, `as_polytope`, and checks of arguments


def walk(call, carries) -> tuple[int, int, int]:
    """Follow an argument: how often a file is entered with it, how many files, how many returns.

    Args:
        call: What is followed.
        carries: Whether a value is the argument.
    """
    entered: list[str] = []

    def look(frame, event, _):
        name = frame.f_code.co_filename
        if event != "call" or not name.startswith(str(PACKAGE)) or frame.f_code.co_name[0] == "<":
            return
        count = frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount
        values = [frame.f_locals.get(v) for v in frame.f_code.co_varnames[:count]]
        if any(carries(v) for v in values) and name not in entered[-1:]:
            entered.append(name)

    call()
    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
    files = len(set(entered))
    return len(entered), files, len(entered) - files


def test_a_set_walks_straight_to_its_projection():
    P, y = optlayers.simplex(5), torch.randn(4, 5)
    found = walk(
        lambda: optlayers.project(P, y), lambda v: v is P or getattr(v, "polytope", None) is P
    )
    assert all(n <= most for n, most in zip(found, (5, 4, 1), strict=True)), found


def test_a_gradient_walks_through_spigot():
    P, y = optlayers.simplex(5), torch.randn(4, 5)
    z, grad = optlayers.decode(P, y), torch.randn(4, 5)
    spigot = optlayers.SPIGOT(1.0, around="vertex", warn=False)
    found = walk(
        lambda: spigot.backward(P, y, z, grad),
        lambda v: isinstance(v, torch.Tensor) and v.is_floating_point() and v.numel() == 20,
    )
    assert all(n <= most for n, most in zip(found, (14, 7, 7), strict=True)), found


MOST_LINES, MOST_NESTED = 40, 3  # of code, without docstring; loops, branches, `with` and `try`
# Why these are longer: each is one subject that parts would only hide.
LONG = {
    "_kernels/active_set.py: solve": "one step of the method; parts of it share eight numbers",
    "_kernels/transport.py: _raise_one": "handing arrays on takes as long as a small table",
    "_projections/newton/batched.py: _begin": "one field a line, of a state with thirty",
}


# Why these are deeper, by one.
NESTED = {
    "_kernels/transport.py: _shortest": "handing arrays on takes as long as a small table",
    "_kernels/transport.py: _raise_one": "the same",
}


def lines_of_code(function: ast.FunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def nesting(node: ast.AST) -> int:
    """Depth of loops, branches, `with` and `try`; an `elif` is as deep as its `if`."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        deeper = isinstance(child, ast.For | ast.While | ast.If | ast.With | ast.Try)
        if isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]:
            deeper = False
        deepest = max(deepest, nesting(child) + deeper)
    return deepest


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_functions_are_short_and_flat(path):
    name = path.relative_to(PACKAGE).as_posix()
    for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        allowed = f"{name}: {function.name}" in LONG
        assert allowed or lines_of_code(function) <= MOST_LINES, function.name
        deeper = f"{name}: {function.name}" in NESTED
        assert nesting(function) <= MOST_NESTED + deeper, function.name


def test_long_and_nested_functions_are_seen():
    loops = "def f():\n for a in b:\n  if a:\n   pass\n  elif b:\n   while c:\n    pass"
    (function,) = functions(ast.parse(loops))
    assert nesting(function) == 3
    assert lines_of_code(function) == 6


@pytest.mark.parametrize(
    ("where", "measure", "most"),
    [*((w, lines_of_code, MOST_LINES) for w in LONG), *((w, nesting, MOST_NESTED) for w in NESTED)],
)
def test_exceptions_are_still_needed(where, measure, most):
    name, wanted = where.split(": ")
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    assert any(f.name == wanted and measure(f) > most for f in functions(tree))


# How a first line begins that is no sentence with a verb: an article, a question, a formula.
NO_SENTENCE = re.compile(
    r"(The|A|An|What|Those|Which|How|Who|Where|Whose|As|Same|By|For|Of|In|Per|With|From|Every|Each|"
    r"Everything|Numbers|Whether)\b|[`$\d(]"
)
# Nor does that of a class, a module or a property: they are named, not described.
NO_NAME = re.compile(r"(The same|What|Those)\b")


def first_lines(source: str) -> dict[str, str]:
    """First lines of the docstrings of functions, but for those that are read as a value."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef):
            continue
        decorators = " ".join(ast.unparse(d) for d in node.decorator_list)
        text = ast.get_docstring(node)
        if text and "property" not in decorators:
            found[f"{node.lineno}: {node.name}"] = text.splitlines()[0]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_docstrings_of_functions_begin_with_a_sentence(path):
    lines = first_lines(path.read_text(encoding="utf-8"))
    assert not {at: line for at, line in lines.items() if NO_SENTENCE.match(line)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_every_docstring_begins_with_a_subject(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
    assert not [text.splitlines()[0] for text in texts if NO_NAME.match(text)]


def test_first_lines_without_a_verb_are_seen():
    code = 'def f():\n    """The same."""\n\n\n@property\ndef g():\n    """The rows."""'
    assert first_lines(code) == {"1: f": "The same."}
    assert NO_SENTENCE.match("The same.")
    assert not NO_SENTENCE.match("Return the same.")
