"""What docs/notebooks.py makes of executed scripts, on cells as nbconvert writes them.

And the notebooks that docs/downloads.py offers beside them.
"""

import logging
import posixpath
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed")
import jupytext
import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent.parent / "docs"
HOOK = runpy.run_path(str(DOCS / "notebooks.py"))

TEXT = '<div class="jp-Cell jp-MarkdownCell" id="a"><div class="jp-RenderedMarkdown">{}</div></div>'
CODE = (
    '<div class="jp-Cell jp-CodeCell"><div class="jp-Cell jp-CodeCell" id="b">'
    '<div class="jp-InputArea"><div class="highlight-ipynb"><pre>x = <b>1</b>\n</pre></div>'
    '<div class="clipboard-copy-txt">x = 1</div></div>{}</div></div>'
)
OUTPUT = '<div class="jp-OutputArea-output {}" data-mime-type="{}">{}</div>'
TITLE = '<h1 id="title">Title<a class="anchor-link" href="#title">¶</a></h1>'


class File:
    def __init__(self, path: str) -> None:
        self.src_uri = path

    def url_relative_to(self, other: "File") -> str:
        path = posixpath.relpath(self.src_uri, posixpath.dirname(other.src_uri))
        return posixpath.splitext(path)[0] + ".html"


FILES = {path: File(path) for path in ("tutorials/one.py", "tutorials/two.py", "math.md")}


def rewrite(*cells: str) -> tuple[str, SimpleNamespace]:
    page = SimpleNamespace(file=FILES["tutorials/one.py"])
    html = (
        f'<style>p {{}}</style><div class="jp-Notebook">{TEXT.format(TITLE)}{"".join(cells)}</div>'
    )
    files = SimpleNamespace(get_file_from_path=FILES.get)
    return HOOK["on_page_content"](html, page=page, config=None, files=files), page


def test_pages_that_are_no_scripts_are_left_alone():
    page = "<p>costs $1 or $2</p>"
    assert HOOK["on_page_content"](page, page=None, config=None, files=None) == page


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<p>Let $x_1$ be</p>", r'<p>Let <span class="arithmatex">\(x_1\)</span> be</p>'),
        ("<p>$$ x\ny $$</p>", '<p><span class="arithmatex">\\[ x\ny \\]</span></p>'),
        ("<p>$a &lt; b$</p>", r'<p><span class="arithmatex">\(a &lt; b\)</span></p>'),
        ("<p><code>$x$</code></p>", "<p><code>$x$</code></p>"),
        ("<pre>$x$</pre>", "<pre>$x$</pre>"),
        ("<p>from $5 to $6</p>", "<p>from $5 to $6</p>"),
        ("<p>$5/$6</p>", "<p>$5/$6</p>"),
    ],
)
def test_formulas_are_marked(text, wanted):
    html, _ = rewrite(TEXT.format(text))
    assert wanted in html
    assert 'class="text"' not in html


def test_code_looks_like_other_code():
    html, _ = rewrite(CODE.format(""))
    assert "<pre><code>x = <b>1</b></code></pre>" in html
    assert html.count("x = ") == 1
    assert "<style>" not in html


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("jp-RenderedText", "result"), ("jp-RenderedSVG", "figure"), ("jp-RenderedHTML", "widget")],
)
def test_outputs_are_told_apart(kind, wanted, caplog):
    html, _ = rewrite(CODE.format(OUTPUT.format(kind, "any", "<pre>1</pre>")))
    assert f'<div class="output {wanted}"><pre>1</pre></div>' in html
    assert not caplog.records


def test_what_a_cell_complains_about_fails_the_build(caplog):
    rewrite(CODE.format(OUTPUT.format("jp-RenderedText", HOOK["STDERR"], "<pre>oh no</pre>")))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.records[0].name.startswith("mkdocs.")  # MkDocs counts these
    assert "oh no" in caplog.text


def test_links_lead_to_pages(caplog):
    link = '<a href="{}">x</a>'
    links = ["two.py", "../math.md#newton", "#title", "https://example.org/a.md"]
    html, page = rewrite(TEXT.format("".join(map(link.format, links))))
    wanted = ["two.html", "../math.html#newton", "#title", "https://example.org/a.md"]
    assert "".join(map(link.format, wanted)) in html
    assert page.links_to_anchors[FILES["math.md"]] == {"newton": "../math.md#newton"}
    assert not caplog.records


@pytest.mark.parametrize("tag", ['<a href="three.py">x</a>', '<img src="three.svg">'])
def test_a_link_to_nothing_fails_the_build(tag, caplog):
    rewrite(TEXT.format(tag))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "three." in caplog.text


def test_headings_are_the_contents():
    _, page = rewrite(
        TEXT.format('<h2 id="a">A <code>b</code></h2><h3 id="c">C</h3><h2 id="d">D</h2>')
    )
    (title,) = page.toc
    assert [child.title for child in title.children] == ["A <code>b</code>", "D"]
    assert [child.id for child in title.children[0].children] == ["c"]
    assert page.present_anchor_ids == {"title", "a", "c", "d"}


NOTEBOOKS = runpy.run_path(str(DOCS / "downloads.py"))
SCRIPTS = sorted(path for pattern in NOTEBOOKS["NOTEBOOKS"] for path in DOCS.glob(pattern))
SCRIPT = """\
# %% [markdown]
# # Title
# [one](two.py), [two](../math.md#newton), [three](#title), [four](https://example.org/a.md)

# %%
x = 1
"""


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    (site / "tutorials").mkdir()
    NOTEBOOKS["on_post_build"]({"docs_dir": str(DOCS), "site_dir": str(site)})
    return site


def code_cells(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_tutorial_is_a_notebook(script, downloads):
    path = downloads / script.relative_to(DOCS).with_suffix(".ipynb")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    installs, *rest = code_cells(notebook)
    up = "/".join([".."] * len(script.relative_to(DOCS).parts))
    assert f'repository = "{up}"  # your clone' in installs
    assert '%pip install --quiet "{repository}[plot]"' in installs
    assert rest == code_cells(jupytext.read(script))


def test_notebooks_of_equal_scripts_are_equal():
    first, second = (NOTEBOOKS["as_notebook"](SCRIPT, "pass") for _ in range(2))
    assert jupytext.writes(first, fmt="ipynb") == jupytext.writes(second, fmt="ipynb")


def test_links_lead_to_what_lies_beside_the_notebook():
    text = NOTEBOOKS["as_notebook"](SCRIPT, "pass").cells[0].source
    wanted = ["two.ipynb", "../math.html#newton", "#title", "https://example.org/a.md"]
    assert [part.split(")")[0] for part in text.split("](")[1:]] == wanted


def test_a_published_repository_is_what_is_installed():
    project = {"urls": {"Repository": "https://example.org/optlayers"}}
    installs = NOTEBOOKS["installation"](project, "..")
    assert 'repository = "https://example.org/optlayers"' in installs
    assert '%pip install --quiet "optlayers[plot] @ git+{repository}"' in installs


def test_a_notebook_runs(downloads):
    notebook = nbformat.read(downloads / "tutorials/01_declare_a_polytope.ipynb", as_version=4)
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    assert notebook.cells[1].outputs == []  # the library was there
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert "OneRow" in str(outputs)


@pytest.mark.parametrize(
    ("page", "notebook"), [("tutorials/one.py", True), ("explanation/one.py", False)]
)
def test_pages_offer_what_is_there(page, notebook):
    line = HOOK["downloads"](page)
    assert 'href="one.py" download' in line
    assert ('href="one.ipynb" download' in line) == notebook
