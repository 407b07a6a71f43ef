"""What docs/notebooks.py makes of executed scripts, on cells as nbconvert writes them."""

import logging
import posixpath
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed")
HOOK = runpy.run_path(str(Path(__file__).resolve().parent.parent / "docs" / "notebooks.py"))

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
