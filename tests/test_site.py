"""The built site, read as its readers read it: in a browser, from a server and from files.

The second half hands the same checks pages with one fault each, and expects a complaint.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.site.links import broken_links, html_pages
from tests.site.server import serve

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from tests.site import visits  # noqa: E402  (it needs playwright)

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "site"
CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # what leaves the site gets nowhere
]
SCRIPTS = ["gallery.html"] + [
    path.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
    for folder in ("tutorials", "explanation")
    for path in sorted((ROOT / "docs" / folder).glob("*.py"))
]
FROM_FILES = ["index.html", "tutorials/01_declare_a_polytope.html", "api/declare.html"]
WITH_CODE = ["index.html", "tutorials/01_declare_a_polytope.html"]


def changed() -> float:
    """When something that the site is made of was written last."""
    sources = [ROOT / "mkdocs.yml", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("docs", "optlayers"):
        sources += [
            path for path in (ROOT / folder).rglob("*.*") if "__pycache__" not in path.parts
        ]
    return max(path.stat().st_mtime for path in sources if path.is_file())


@pytest.fixture(scope="module")
def site() -> Path:
    index = SITE / "index.html"
    if not index.exists():
        pytest.skip("there is no site: run `make docs`")
    if index.stat().st_mtime < changed():
        pytest.skip("the site is older than its sources: run `make docs`")
    return SITE


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    with serve(site) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def context(browser) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture(params=["served", "files"])
def either(request, site) -> str:
    """The site behind a path of a server, and as files."""
    return site.as_uri() + "/" if request.param == "files" else request.getfixturevalue("address")


def complaints(context, address: str, names: list[str], check: Callable) -> list[str]:
    found = []
    for name in names:
        with visits.opened(context, address, name) as tab:
            problems = [*check(tab.page), *tab.problems]
        found += [f"{name}: {problem}" for problem in problems]
    return found


def test_every_link_leads_somewhere(site):
    assert not (problems := broken_links(site)), "\n".join(problems)


def names_of(site: Path) -> list[str]:
    return [path.relative_to(site).as_posix() for path in html_pages(site)]


def open_all(site: Path, address: str, context, names: list[str]) -> int:
    """Open pages, each once, for it takes a second; how many formulas there are.

    Scripts have to show what they print and draw.
    """
    problems, formulas = [], 0
    with visits.opened(context, address, "index.html") as tab:
        for name in names:
            tab.open(name)
            shown = visits.outputs(tab.page) if name in SCRIPTS else []
            problems += [f"{name}: {problem}" for problem in [*visits.look(tab), *shown]]
            formulas += visits.count_formulas(tab.page)
    assert not problems, "\n".join(problems)
    return formulas


def test_pages_open(site, address, context):
    """Those that were run, and every fourth of the others: of each kind some."""
    assert SCRIPTS
    others = [name for name in names_of(site) if name not in SCRIPTS]
    assert open_all(site, address, context, [*SCRIPTS, *others[::4]]) > 100


@pytest.mark.slow
def test_every_page_opens(site, address, context):
    assert open_all(site, address, context, names_of(site)) > 300


def test_pages_open_as_files(site, context):
    for name in FROM_FILES:
        with visits.opened(context, site.as_uri() + "/", name) as tab:
            assert visits.look(tab) == []
            assert visits.count_formulas(tab.page) > 0


def test_the_scripts_are_pages(site):
    assert {*SCRIPTS} <= {path.relative_to(site).as_posix() for path in html_pages(site)}


def test_the_search_finds_a_word(either, context):
    names = ["index.html", "api/declare.html"]
    assert complaints(context, either, names, lambda page: visits.search(page, "knapsack")) == []


def test_code_can_be_copied(address, context):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    assert complaints(context, address, WITH_CODE, visits.copy) == []


def test_light_and_dark(either, context):
    assert complaints(context, either, ["index.html"], visits.toggle) == []


# The checks, checked.

HEAD = '<!doctype html><title>A page</title><meta charset="utf-8"><link rel="icon" href="data:,">'
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
GOOD = (
    f'<h1 id="top">A page</h1><p>Costs <code>$1 or $2</code>.</p><img src="{PIXEL}">'
    '<span class="arithmatex"><mjx-container>x</mjx-container></span>'
    '<div style="overflow: auto"><div style="width: 3000px">wide</div></div>'
    '<a href="page.html#top">here</a><a href="https://example.org/">elsewhere</a>'
)
WRONG_LINKS = {
    '<a href="other.html">': "no such file",
    '<img src="picture.png">': "no such file",
    '<a href="page.html#bottom">': "no such anchor",
    '<a href="#bottom">': "no such anchor",
    '<a href="/page.html">': "works at the root of a server only",
    '<a href="./">': "no such file",
    '<script src="https://example.org/a.js"></script>': "loads from elsewhere",
    '<link rel="stylesheet" href="//example.org/a.css">': "loads from elsewhere",
}
WRONG_PAGES = {
    "<script>console.error('broken')</script>": "console error: broken",
    "<script>console.warn('deprecated')</script>": "console warning: deprecated",
    "<script>null.x</script>": "page error",
    "<script>fetch('missing.json')</script>": "status 404",
    "<script>fetch('http://127.0.0.1:9/').catch(() => null)</script>": "leaves the site",
    '<img src="http://127.0.0.1:9/picture.png">': "failed: http://127.0.0.1:9/picture.png",
    '<img src="/page.html">': "leaves the site",
    '<img src="page.html">': "image without a picture",
    "<p>So $x + y$ it is.</p>": "raw formula: $x + y$",
    r"<p>So \(x\) it is.</p>": "raw formula",
    r"<p>\[ x \]</p>": "raw formula",
    '<span class="arithmatex"></span>': "1 formulas not rendered",
    "<mjx-merror title='Undefined control sequence'></mjx-merror>": "wrong formula: Undefined",
    '<div style="width: 1000px">wide</div>': "wider than 360 px",
    '<div style="width: 2000px">wide</div>': "wider than 1280 px",
}
INPUT = '<input class="md-search__input"><a class="md-search-result__link" href="{}">result</a>'
BUTTON = "<div><button onclick=\"navigator.clipboard.writeText('{}')\">copy</button>{}</div>"
TOGGLE = '<label for="__palette_1" onclick="{}">toggle</label>'
CODE = "<pre><code>x = 1\n</code></pre>"
WRONG_TOOLS = [
    (visits.outputs, "<p>text</p>", "no outputs"),
    (visits.outputs, '<div class="output">1</div>', "no figures"),
    (visits.outputs, f'<div class="output figure"><img src="{PIXEL}"></div>', "an empty figure"),
    (visits.search, "<input>", "the search does not find"),
    (visits.search, '<input class="md-search__input">', "the search does not find"),
    (visits.search, INPUT.format("page.html?found"), "does not contain"),
    (visits.search, INPUT.format('other.html" onclick="return false'), "does not lead to"),
    (visits.copy, "<p>text</p>", "no code"),
    (visits.copy, f"<div>{CODE}</div>", "no copy button"),
    (visits.copy, BUTTON.format("y = 2", CODE), "copied 'y = 2'"),
    (visits.toggle, "<p>text</p>", "no way to change"),
    (visits.toggle, TOGGLE.format(""), "look the same"),
    (visits.toggle, TOGGLE.format("document.body.style.backgroundColor = 'black'"), "is forgotten"),
]


def write_page(folder: Path, body: str) -> None:
    (folder / "page.html").write_text(f"{HEAD}<body>{body}</body>", encoding="utf-8")


def look_at(context, folder: Path, body: str, check: Callable) -> list[str]:
    write_page(folder, body)
    with serve(folder) as url, visits.opened(context, url, "page.html", patience=1_000) as tab:
        return check(tab)


def test_a_good_page_is_not_complained_about(tmp_path, context):
    assert look_at(context, tmp_path, GOOD, visits.look) == []
    assert broken_links(tmp_path) == []


@pytest.mark.parametrize(("body", "complaint"), WRONG_LINKS.items())
def test_a_broken_link_is_found(tmp_path, body, complaint):
    write_page(tmp_path, GOOD + body)
    (problem,) = broken_links(tmp_path)
    assert complaint in problem


@pytest.mark.parametrize(("body", "complaint"), WRONG_PAGES.items())
def test_a_broken_page_is_found(tmp_path, context, body, complaint):
    problems = look_at(context, tmp_path, GOOD + body, visits.look)
    assert any(complaint in problem for problem in problems), problems


@pytest.mark.parametrize(("check", "body", "complaint"), WRONG_TOOLS)
def test_a_broken_tool_is_found(tmp_path, context, check, body, complaint):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    arguments = ["knapsack"] if check is visits.search else []
    problems = look_at(context, tmp_path, body, lambda tab: check(tab.page, *arguments))
    assert any(complaint in problem for problem in problems), problems
