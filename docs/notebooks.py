"""Makes executed scripts look and behave like the other pages of the site.

MkDocs calls this after mkdocs-jupyter has run a script: code, formulas, headings and links get the
markup that MkDocs gives to Markdown, so that copy buttons, MathJax, the table of contents and the
checks of `--strict` treat both kinds of page alike.
"""

import atexit
import logging
import os
import posixpath
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, NavigableString, Tag
from mkdocs.structure.toc import get_toc

log = logging.getLogger("mkdocs.hooks.notebooks")

FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$]+?)(?<![\s\\])\$(?!\d)", re.DOTALL)
HEADING = re.compile(r"h[1-6]")
DOWNLOAD = '<a href="{0}" download>{0}</a>'
KINDS = {
    "jp-RenderedText": "result",
    "jp-RenderedImage": "figure",
    "jp-RenderedSVG": "figure",
}
STDERR = "application/vnd.jupyter.stderr"
KERNEL = 'c.InlineBackend.figure_formats = {"svg"}\n'


def on_startup(**_) -> None:
    """Draw figures as vectors, whatever the settings of the person who builds the site.

    And compute with one thread: on small problems several wait for each other beside other jobs.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = tempfile.mkdtemp(prefix="ipython-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    profile = Path(folder, "profile_default")
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text(KERNEL, encoding="utf-8")
    os.environ["IPYTHONDIR"] = folder


def on_page_content(html: str, page, files, **_) -> str:
    """Rewrite what mkdocs-jupyter made of a script; leave the other pages alone."""
    if "jp-Notebook" not in html:
        return html
    soup = BeautifulSoup(html, "html.parser")
    article = soup.new_tag("article")
    for cell in soup.select(".jp-Cell[id]"):
        article.extend(parts_of(cell, soup, page.file.src_uri))
    mark_formulas(article, soup)
    point_links(article, page, files)
    page.toc = get_toc(headings(article, soup))
    page.present_anchor_ids = {tag["id"] for tag in article.find_all(id=True)}
    article.h1.insert_after(BeautifulSoup(downloads(page.file.src_uri), "html.parser"))
    for cell in article.select(".text"):
        cell.unwrap()
    return article.decode_contents()


def downloads(source_name: str) -> str:
    """Return the line that offers the script and the notebook of docs/downloads.py."""
    script = posixpath.basename(source_name)
    links = DOWNLOAD.format(script)
    if not source_name.startswith("explanation/"):
        links += " or " + DOWNLOAD.format(posixpath.splitext(script)[0] + ".ipynb")
    return f'<p class="download">This page to run: {links}</p>'


def parts_of(cell: Tag, soup: BeautifulSoup, source_name: str) -> list[Tag]:
    """The text of a cell, or its code and what the code gave."""
    parts = list(cell.select(".jp-RenderedMarkdown")[:1])
    for text in parts:
        text.attrs = {"class": "text"}
        for source in text.select(".highlight"):
            mark_code(source, soup)
    if "jp-CodeCell" not in cell["class"]:
        return parts
    for source in cell.select(".jp-InputArea .highlight-ipynb"):
        source.attrs = {"class": "language-python highlight"}
        mark_code(source, soup)
        parts.append(source)
    for output in cell.select(".jp-OutputArea-output"):
        kind = next((KINDS[name] for name in output["class"] if name in KINDS), "widget")
        if output.get("data-mime-type") == STDERR:
            log.warning("A cell of '%s' complains: %s", source_name, output.get_text().strip())
        output.attrs = {"class": f"output {kind}"}
        for image in output.find_all("img"):
            image["alt"] = "Drawn by the code above"
        parts.append(output)
    return parts


def mark_code(source: Tag, soup: BeautifulSoup) -> None:
    """Put what stands in `pre` into `code`, where the theme looks for it."""
    code = soup.new_tag("code")
    code.extend(list(source.pre.contents))
    code.contents[-1].replace_with(str(code.contents[-1]).rstrip("\n"))
    source.pre.append(code)


def mark_formulas(article: Tag, soup: BeautifulSoup) -> None:
    """Wrap what stands between dollars as pymdownx.arithmatex does; dollars in code stay."""
    for cell in article.select(".text"):
        for text in list(cell.find_all(string=FORMULA)):
            if text.find_parent(["code", "pre"]):
                continue
            end = 0
            for found in FORMULA.finditer(text):
                text.insert_before(NavigableString(text[end : found.start()]))
                formula = soup.new_tag("span", attrs={"class": "arithmatex"})
                formula.string = rf"\[{found[1]}\]" if found[1] else rf"\({found[2]}\)"
                text.insert_before(formula)
                end = found.end()
            text.replace_with(NavigableString(text[end:]))


def point_links(article: Tag, page, files) -> None:
    """Turn links to source files into links to pages, and have MkDocs check their anchors."""
    page.links_to_anchors = {}
    for cell in article.select(".text"):
        for tag, key in [(tag, "href") for tag in cell.find_all("a", href=True)] + [
            (tag, "src") for tag in cell.find_all("img", src=True)
        ]:
            parts = urlsplit(tag[key])
            if parts.scheme or parts.netloc:
                continue
            target = page.file
            if parts.path:
                folder = posixpath.dirname(page.file.src_uri)
                target = files.get_file_from_path(
                    posixpath.normpath(posixpath.join(folder, unquote(parts.path)))
                )
            if target is None:
                log.warning("'%s' links '%s', which is not there.", page.file.src_uri, tag[key])
                continue
            if parts.fragment:
                page.links_to_anchors.setdefault(target, {})[parts.fragment] = tag[key]
            if parts.path:
                anchor = f"#{parts.fragment}" if parts.fragment else ""
                tag[key] = target.url_relative_to(page.file) + anchor


def headings(article: Tag, soup: BeautifulSoup) -> list[dict]:
    """The headings as a table of contents, each with the permalink that other pages have."""
    top: list[dict] = []
    path: list[dict] = []
    for heading in article.find_all(HEADING):
        for link in heading.select("a.anchor-link"):
            link.decompose()
        level, anchor = int(heading.name[1]), heading["id"]
        token = {"level": level, "id": anchor, "name": heading.decode_contents(), "children": []}
        while path and path[-1]["level"] >= level:
            path.pop()
        (path[-1]["children"] if path else top).append(token)
        path.append(token)
        permalink = {"class": "headerlink", "href": f"#{anchor}", "title": "Permanent link"}
        heading.append(link := soup.new_tag("a", attrs=permalink))
        link.string = "¶"
    return top
