"""The BibTeX of `docs/citing.md`: it parses, it is complete, and it agrees with `CITATION.cff`."""

import re
import tomllib
from pathlib import Path

import pytest

import optlayers as ol

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "citing.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```bibtex\n(.*?)^```", re.MULTILINE | re.DOTALL)
REQUIRED = {
    "article": {"author", "title", "journal", "year", "volume", "pages"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "book": {"author", "title", "publisher", "year"},
    "incollection": {"author", "title", "booktitle", "publisher", "year"},
    "techreport": {"author", "title", "institution", "year"},
    "misc": {"author", "title"},
}


def closing(text: str, start: int) -> int:
    """The index of the brace that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return i
    raise ValueError(f"a brace is not closed: {text[start : start + 60]!r}")


def fields_of(body: str) -> dict[str, str]:
    """`name = {value}` pairs, separated by commas; nothing else may stand between them."""
    fields: dict[str, str] = {}
    at = 0
    while head := re.compile(r"\s*(\w+)\s*=\s*(?=\{)").match(body, at):
        end = closing(body, head.end())
        name = head[1].lower()
        if name in fields:
            raise ValueError(f"the field {name} stands twice")
        fields[name] = body[head.end() + 1 : end]
        comma = re.compile(r"\s*(,|$)").match(body, end + 1)
        if not comma:
            raise ValueError(f"no comma after the field {name}")
        at = comma.end()
    if body[at:].strip():
        raise ValueError(f"not a field: {body[at:].strip()[:60]!r}")
    return fields


def parse(text: str) -> list[tuple[str, str, dict[str, str]]]:
    """Entries as (type, key, fields); raises ValueError at what is not BibTeX."""
    entries, at = [], 0
    while head := re.compile(r"\s*@(\w+)(?=\{)").match(text, at):
        end = closing(text, head.end())
        key, comma, body = text[head.end() + 1 : end].partition(",")
        if not comma or not re.fullmatch(r"[\w-]+", key.strip()):
            raise ValueError(f"no key: {key[:60]!r}")
        entries.append((head[1].lower(), key.strip(), fields_of(body)))
        at = end + 1
    if text[at:].strip():
        raise ValueError(f"not an entry: {text[at:].strip()[:60]!r}")
    return entries


ENTRIES = [entry for block in FENCE.findall(PAGE) for entry in parse(block)]


@pytest.mark.parametrize(
    "text",
    [
        "@misc{key, title = {A {B}}",
        "@misc{key, title = {A} author = {B}}",
        "@misc{key, title = A}",
        "@misc{title = {A}}",
        "@misc{key, title = {A}, title = {B}}",
        "@misc{key, title = {A}} and more",
    ],
)
def test_what_is_not_bibtex_is_caught(text):
    with pytest.raises(ValueError, match=r"brace|comma|field|key|entry"):
        parse(text)


def test_there_are_entries_in_every_group():
    groups = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert all(FENCE.search(group) for group in groups)
    assert len(ENTRIES) > 50


def test_keys_are_unique():
    keys = [key for _, key, _ in ENTRIES]
    assert sorted(keys) == sorted(set(keys))
    titles = [re.sub(r"\W", "", fields["title"]).lower() for *_, fields in ENTRIES]
    assert sorted(titles) == sorted(set(titles))


@pytest.mark.parametrize(("kind", "key", "fields"), ENTRIES, ids=[key for _, key, _ in ENTRIES])
def test_an_entry_is_complete(kind, key, fields):
    assert REQUIRED[kind] <= fields.keys()
    assert all(value.strip() for value in fields.values())
    assert "--" in fields.get("pages", "--")
    assert re.fullmatch(r"10\.\d{4,}/\S+", fields.get("doi", "10.0000/none"))
    if kind != "misc" or "year" in fields:
        assert re.fullmatch(r"(19|20)\d\d", fields["year"])
        assert fields["year"] in key
    if not fields["author"].startswith("{"):
        assert all("," in name for name in fields["author"].split(" and "))


def test_the_library_is_cited_as_its_citation_file_says():
    cff = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    fields = next(fields for _, key, fields in ENTRIES if key == "optlayers")
    plain = {name: re.sub("[{}]", "", value) for name, value in fields.items()}
    assert f'title: "{plain["title"]}"' in cff
    assert f'name: "{plain["author"]}"' in cff
    assert plain["note"] == f"Version {project['version']}"
    assert f"version: {project['version']}" in cff
    assert ol.__version__ == project["version"]
    assert not {"doi", "url"} & plain.keys()
    spigot = next(fields for _, key, fields in ENTRIES if key.startswith("peng-etal-2018"))
    assert f"doi: {spigot['doi']}" in cff
