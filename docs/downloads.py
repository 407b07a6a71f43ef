"""Offers each executed script as a Jupyter notebook, beside the page and the script.

MkDocs calls this after the pages are written. The notebooks have no outputs: whoever opens one runs
it. Their first code cell installs the library, and links between pages lead to the other notebooks
where these are notebooks, else to the page of the site, beside which the notebook was downloaded.
"""

import posixpath
import re
import tomllib
from pathlib import Path

import jupytext
from nbformat import NotebookNode, v4

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ("tutorials/*.py", "gallery.py")
LINK = re.compile(r"(\]\()(?!https?://|mailto:|#)([^)#\s]+)((?:#[^)\s]*)?\))")
INSTALL = """\
import importlib.util

repository = "{address}"  # {what}
if importlib.util.find_spec("optlayers") is None:
    %pip install --quiet "{requirement}"
"""


def installation(project: dict, clone: str) -> str:
    """Return the cell that installs the library, from the `[project]` table of pyproject.toml.

    From the address under `urls`, `Repository`. As long as there is none, from the clone in whose
    folder `site/` the notebook lies: Jupyter runs a notebook where it lies, and `clone` is the way
    up from there.
    """
    address = project.get("urls", {}).get("Repository")
    if address:
        what, requirement = "or the folder of a clone", "optlayers[plot] @ git+{repository}"
    else:
        address, what, requirement = clone, "your clone of optlayers", "{repository}[plot]"
    return INSTALL.format(address=address, what=what, requirement=requirement)


def on_post_build(config, **_) -> None:
    """Write a notebook beside every page that is one."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    docs, site = Path(config["docs_dir"]), Path(config["site_dir"])
    for script in sorted(path for pattern in NOTEBOOKS for path in docs.glob(pattern)):
        name = script.relative_to(docs)
        installs = installation(project, "/".join([".."] * len(name.parts)))
        notebook = as_notebook(script.read_text(encoding="utf-8"), installs)
        target = site / name.with_suffix(".ipynb")
        target.write_text(jupytext.writes(notebook, fmt="ipynb"), encoding="utf-8")


def as_notebook(script: str, installs: str) -> NotebookNode:
    """Return a script of cells as a notebook that installs what it imports."""
    notebook = jupytext.reads(script, fmt="py:percent")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(point, cell.source)
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first, v4.new_code_cell(installs.rstrip()))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # at random otherwise: equal sources shall give equal files
    notebook.metadata.pop("jupytext", None)
    return notebook


def point(found: re.Match[str]) -> str:
    """Return a link to a source file as one to what stands beside the notebook on the site."""
    stem, ending = posixpath.splitext(found[2])
    ending = {".py": ".ipynb", ".md": ".html"}.get(ending, ending)
    return f"{found[1]}{stem}{ending}{found[3]}"
