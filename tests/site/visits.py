"""What a reader's browser finds on the pages of a site: each check returns its complaints."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from playwright.sync_api import BrowserContext, Page
from playwright.sync_api import TimeoutError as Timeout

PATIENCE = 20_000.0  # milliseconds
WIDTHS = (360, 1280)

# MathJax works while the page is open already: the count of formulas that it has yet to render.
UNRENDERED = """() => [...document.querySelectorAll(".arithmatex")]
  .filter((formula) => !formula.querySelector("mjx-container")).length"""

RAW = r"""() => {
  const code = "code, pre, script, style, noscript, mjx-container, textarea, svg";
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const text = texts.currentNode;
    if (text.parentElement.closest(code)) continue;
    const raw = text.data.match(/\\[([].*|\\begin\{.*|\$\$.*|\$[^\s$][^$]*\$/);
    if (raw) found.push(raw[0].slice(0, 60));
  }
  return found;
}"""

ERRORS = """() => [...document.querySelectorAll("mjx-merror, [data-mjx-error]")]
  .map((error) => error.dataset.mjxError || error.title || error.textContent)"""

BLANK = """async () => {
  const images = [...document.images];
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  return images.filter((image) => !image.naturalWidth).map((image) => image.src.slice(0, 100));
}"""

# The widest of the elements that stick out, unless a box around them scrolls.
OVERFLOW = """async () => {
  for (const wait of [1, 2]) await new Promise(requestAnimationFrame); // formulas fit themselves in
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return null;
  const right = (element) => element.getBoundingClientRect().right;
  const scrolls = (element) => element && element !== document.body
    && (getComputedStyle(element).overflowX !== "visible" || scrolls(element.parentElement));
  const wide = [...document.body.querySelectorAll("*")]
    .filter((element) => right(element) > root.clientWidth + 1 && !scrolls(element.parentElement))
    .sort((one, other) => right(other) - right(one))[0];
  return `${root.scrollWidth} px: ${wide ? wide.outerHTML.slice(0, 100) : "not an element"}`;
}"""

# Buttons write to the clipboard when they get round to it.
CLIPBOARD = """async (wanted) => {
  const read = async () => (await navigator.clipboard.readText()).trim();
  for (let turn = 0; turn < 20 && (await read()) !== wanted; turn++)
    await new Promise((go) => setTimeout(go, 50));
  return read();
}"""

FIGURE = ".output.figure img, .output.figure svg"


@dataclass
class Tab:
    """A tab of the browser that shows pages of a site, and what went wrong in it."""

    page: Page
    site: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self.console)
        self.page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        self.page.on("requestfailed", self.failure)
        self.page.on("request", self.request)
        self.page.on("response", self.response)

    def open(self, name: str) -> None:
        self.page.set_viewport_size({"width": WIDTHS[-1], "height": 900})
        self.page.goto(self.site + name)

    def drain(self) -> list[str]:
        """What went wrong since this was asked last."""
        problems, self.problems = self.problems, []
        return problems

    def failure(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by opening the next page
            self.problems.append(f"failed: {request.url}: {request.failure}")

    def console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console {message.type}: {message.text}")

    def request(self, request) -> None:
        if not request.url.startswith((self.site, "data:", "blob:", "about:")):
            self.problems.append(f"leaves the site: {request.url}")

    def response(self, response) -> None:
        if response.status >= 400:
            self.problems.append(f"status {response.status}: {response.url}")


@contextlib.contextmanager
def opened(
    context: BrowserContext, site: str, name: str, patience: float = PATIENCE
) -> Iterator[Tab]:
    """A new tab with a page of the site at this address."""
    with contextlib.closing(context.new_page()) as page:
        page.set_default_timeout(patience)
        tab = Tab(page, site)
        tab.open(name)
        yield tab


def look(tab: Tab) -> list[str]:
    """Everything that a page must be, whatever it is about."""
    page = tab.page
    problems = [*formulas(page)]
    problems += [f"image without a picture: {source}" for source in page.evaluate(BLANK)]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if culprit := page.evaluate(OVERFLOW):
            problems.append(f"wider than {width} px: {culprit}")
    return [*tab.drain(), *problems]


def formulas(page: Page) -> list[str]:
    """Formulas that cannot be read."""
    problems = []
    try:
        page.wait_for_function(f"() => ({UNRENDERED})() === 0")
    except Timeout:
        problems.append(f"{page.evaluate(UNRENDERED)} formulas not rendered")
    problems += [f"wrong formula: {error}" for error in page.evaluate(ERRORS)]
    return problems + [f"raw formula: {text}" for text in page.evaluate(RAW)]


def count_formulas(page: Page) -> int:
    return page.locator("mjx-container").count()


def outputs(page: Page) -> list[str]:
    """What a page that was run has to show."""
    problems = [] if page.locator(".output").count() else ["no outputs"]
    figures = page.locator(FIGURE)
    boxes = [figures.nth(i).bounding_box() for i in range(figures.count())]
    if not boxes:
        problems.append("no figures")
    return problems + [
        "an empty figure" for box in boxes if not box or min(box["width"], box["height"]) < 50
    ]


def search(page: Page, word: str) -> list[str]:
    """Type a word, follow the first result, and look for the word on the page."""
    try:
        page.locator("input.md-search__input").click()
        page.keyboard.type(word)
        result = page.locator("a.md-search-result__link").first
        result.wait_for()
    except Timeout:
        return [f"the search does not find '{word}'"]
    target = result.evaluate("link => link.href")
    result.click()
    try:
        page.wait_for_url(target)
    except Timeout:
        return [f"the first result does not lead to {target}"]
    text = page.locator("body").inner_text()
    return [] if word in text.lower() else [f"{target} does not contain '{word}'"]


def copy(page: Page) -> list[str]:
    """Press the copy button of the first and the last block of code, and read the clipboard."""
    blocks = page.locator("pre:has(> code)")
    if not blocks.count():
        return ["no code"]
    problems = []
    for block in (blocks.first, blocks.last):
        block.hover()
        button = block.locator("xpath=..").locator("button")
        wanted = block.locator("code").inner_text().strip()
        if not button.count():
            problems.append(f"no copy button: {wanted}")
            continue
        page.evaluate("navigator.clipboard.writeText('nothing')")
        button.first.click()
        if (copied := page.evaluate(CLIPBOARD, wanted)) != wanted:
            problems.append(f"copied {copied!r} instead of {wanted!r}")
    return problems


def toggle(page: Page) -> list[str]:
    """Change between light and dark, and back; the choice outlives the page."""
    background = "getComputedStyle(document.body).backgroundColor"
    button = page.locator("label[for^=__palette]:not([hidden])")
    if not button.count():
        return ["no way to change between light and dark"]
    first = page.evaluate(background)
    button.first.click()
    second = page.evaluate(background)
    page.reload()
    third = page.evaluate(background)
    problems = ["light and dark look the same"] if first == second else []
    if second != third:
        problems.append("light or dark is forgotten")
    return problems
