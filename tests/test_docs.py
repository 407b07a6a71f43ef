"""The documentation is code: examples run as printed, names and commands it mentions exist."""

import csv
import doctest
import inspect
import re
import runpy
import textwrap
from pathlib import Path

import matplotlib
import pytest

import optlayers
from optlayers import plotting, testing

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SCRIPTS = sorted(
    [DOCS / "gallery.py", *DOCS.glob("tutorials/*.py"), *DOCS.glob("explanation/*.py")]
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
RESULTS = sorted(path for path in DOCS.glob("results/*.md") if path.stem != "index")
FENCE = re.compile(r"^( *)```python[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")
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


def mkdocs_settings() -> str:
    return (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def navigation() -> set[str]:
    """The files that the menu names."""
    menu = mkdocs_settings().split("\nnav:\n")[1]
    menu = re.split(r"^\S", menu, maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"[\w/.-]+\.(?:md|py)$", menu, re.MULTILINE))


def test_the_menu_names_every_page():
    # No test runs tutorials and explanations: building the site does, in `make test` as well.
    pages = [path for path in [*SCRIPTS, *PAGES] if path.is_relative_to(DOCS)]
    assert navigation() == {path.relative_to(DOCS).as_posix() for path in pages}


@pytest.mark.parametrize("setting", ["strict: true", "allow_errors: false", "cache: false"])
def test_the_build_fails_where_a_tutorial_fails(setting):
    assert re.search(rf"^ *{setting}\b", mkdocs_settings(), re.MULTILINE)


@pytest.mark.parametrize("script", SCRIPTS, ids=page_id)
def test_the_build_runs_the_script(script):
    include = re.search(r"include: \[(.*)\]", mkdocs_settings())
    patterns = re.findall(r'"([^"]+)"', include[1]) if include else []
    assert any(script.relative_to(DOCS).match(pattern) for pattern in patterns)


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


def documented_names() -> set[str]:
    pages = (path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    return {name for page in pages for name in re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)}


def public_names(module) -> set[str]:
    return {
        f"{module.__name__}.{name}"
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }


def test_every_public_name_is_documented():
    public = public_names(optlayers) | public_names(optlayers.maps) | public_names(plotting)
    assert documented_names() == public | {"optlayers.testing"}


def test_every_check_is_public():  # `::: optlayers.testing` shows what is in the list
    checks = {name for name in vars(testing) if name.startswith("assert_")}
    assert checks <= set(testing.__all__)


@pytest.mark.parametrize("page", RESULTS, ids=page_id)
def test_a_page_of_results_says_where_its_figures_come_from(page):
    text = page.read_text(encoding="utf-8")
    index = (DOCS / "results" / "index.md").read_text(encoding="utf-8")
    head = " ".join(text[:3000].split())
    assert re.search(r"`[^`]*(python -m|make) [^`]*`", head), "no command"
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", head), "no date"
    assert re.search(r"[Pp]ython[ |]+3\.\d+.*torch 2|torch 2.*[Pp]ython 3\.\d+", head), (
        "no versions"
    )
    date = re.search(r"\b20\d\d-\d\d-\d\d\b", head)[0]
    row = next(line for line in index.splitlines() if f"]({page.name})" in line)
    assert date in row
    assert f"]({page.stem}.csv)" in row


def test_the_index_of_results_links_every_raw_file():
    index = (DOCS / "results" / "index.md").read_text(encoding="utf-8")
    raw = {path.name for path in DOCS.glob("results/*") if path.suffix in (".csv", ".json")}
    assert set(re.findall(r"\]\(([\w-]+\.(?:csv|json))\)", index)) == raw


def test_raw_figures_are_tables():
    for path in DOCS.glob("results/*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(line for line in file if line[0] != "#")
        assert {len(row) for row in rows} <= {len(head)}, path.name
        assert rows or path.stem == "gpu", path.name  # which waits for a GPU


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_that_a_page_names_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)`", page.read_text(encoding="utf-8"))) <= targets


@pytest.mark.skipif(
    tuple(int(k) for k in matplotlib.__version__.split(".")[:2]) < (3, 11),
    reason="the pictures are those of matplotlib 3.11, which lays out letters in a new way",
)
def test_pictures_are_what_their_script_draws(tmp_path):
    drawn = runpy.run_path(str(DOCS / "figures.py"))["draw"](tmp_path)
    assert drawn
    for path in drawn:  # `python docs/figures.py` draws them again
        kept = (DOCS / "assets" / path.name).read_text(encoding="utf-8")
        drawn_words, drawn_numbers = split_numbers(path.read_text(encoding="utf-8"))
        words, numbers = split_numbers(kept)
        assert drawn_words == words
        assert drawn_numbers == pytest.approx(numbers, abs=0.05)  # other machines round otherwise


def split_numbers(svg: str) -> tuple[list[str], list[float]]:
    return NUMBER.split(svg), [float(text) for text in NUMBER.findall(svg)]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    # `mkdocs build --strict` checks the pages of the site; these are read on their own.
    targets = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing
