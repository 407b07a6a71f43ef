"""What can be known about a built site without a browser: where its links lead."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

TARGETS = {
    "a": "href",
    "link": "href",
    "img": "src",
    "script": "src",
    "source": "src",
    "iframe": "src",
}
CODE = {"code", "pre", "script", "style"}


class Page(HTMLParser):
    """The links, the anchors and the words of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.anchors: set[str] = {"", "__skip"}
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.update(value for key in ("id", "name") if (value := values.get(key)))
        if target := values.get(TARGETS.get(tag, "")):
            self.links.append((tag, target))


def html_pages(site: Path) -> list[Path]:
    """Every page but the one for wrong addresses, which cannot know where it will be shown."""
    return sorted(path for path in site.rglob("*.html") if path != site / "404.html")


def broken_links(site: Path) -> list[str]:
    """Links of a site that lead nowhere, or would elsewhere than at the root of a server."""
    pages = {path.resolve(): Page(path) for path in html_pages(site)}
    problems = []
    for path, page in pages.items():
        for tag, target in dict.fromkeys(page.links):
            if problem := broken(path, tag, target, pages):
                problems.append(f"{path.relative_to(site.resolve())}: {target}: {problem}")
    return problems


def broken(path: Path, tag: str, target: str, pages: dict[Path, Page]) -> str | None:
    """What is wrong with one link of one page, if anything."""
    parts = urlsplit(target)
    if parts.scheme in ("data", "mailto") or (tag == "a" and parts.scheme in ("http", "https")):
        return None
    if parts.scheme or parts.netloc:
        return "loads from elsewhere"
    if parts.path.startswith("/"):
        return "works at the root of a server only"
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not file.is_file():  # a folder is none: opened as a file, it shows no page
        return "no such file"
    if file in pages and unquote(parts.fragment) not in pages[file].anchors:
        return "no such anchor"
    return None
