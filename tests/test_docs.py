"""The documentation is code: examples run as printed, names and commands it mentions exist."""

import doctest
import inspect
import re
import runpy
import textwrap
from pathlib import Path

import pytest

import optlayers

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```python[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run_examples(text: str, name: str) -> int:
    """Run the python blocks of a page, in order and in one namespace, as its reader would."""
    namespace = {"__name__": "__main__"}
    blocks = list(FENCE.finditer(text))
    for block in blocks:
        code = textwrap.dedent(block[2])
        line = text.count("\n", 0, block.start(2))
        if code.lstrip().startswith(">>>"):
            run_doctest(code, namespace, name, line)
        else:  # padded, so that a traceback points into the page
            exec(compile("\n" * line + code, name, "exec"), namespace)
    return len(blocks)


def run_doctest(code: str, namespace: dict, name: str, line: int) -> None:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest(code, namespace, name, name, line)
    doctest.DebugRunner(optionflags=flags).run(test, clear_globs=False)
    namespace.update(test.globs)  # the runner works on a copy


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs(script):
    runpy.run_path(str(script))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_examples_of_the_page_run(page):
    run_examples(page.read_text(encoding="utf-8"), page_id(page))


def test_readme_has_an_example():
    assert FENCE.search((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("code", "error"),
    [("assert 1 == 2", AssertionError), (">>> 1 + 1\n3", doctest.DocTestFailure)],
    ids=["statements", "doctest"],
)
def test_a_wrong_example_is_caught(code, error):
    with pytest.raises(error):
        run_examples(f"text\n```python\n{code}\n```\n", "page.md")


def test_examples_share_a_namespace():
    page = "```python\n>>> x = 1\n```\n\n- a list\n\n  ```python\n  assert x == 1\n  ```\n"
    assert run_examples(page, "page.md") == 2


def test_every_public_name_is_documented():
    public = {
        name
        for name, value in vars(optlayers).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^::: optlayers\.(\w+)$", api, re.MULTILINE))
    assert documented - {"testing"} == public  # `optlayers.testing` is imported by itself


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_that_a_page_names_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)`", page.read_text(encoding="utf-8"))) <= targets


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    # `mkdocs build --strict` checks the pages of the site; these are read on their own.
    targets = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing
