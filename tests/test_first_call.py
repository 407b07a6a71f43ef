"""The first call: where compiled loops are kept, what is said of long compilations, warming up."""

import ast
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from typing import Any

import numba
import pytest

import optlayers
import optlayers.__main__ as cli
from optlayers._cli import warmup
from optlayers._kernels import folder, progress

CONFIG: Any = numba.config

# ---------------------------------------------------------------------- the folder


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Return a folder for caches that nobody else uses."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(CONFIG, "CACHE_DIR", "")
    made = folder.cache_folder()
    assert made is not None
    assert made.parent == tmp_path / "optlayers"
    return made


LOOPS = "optlayers/numba-*/thresholds-*/**/thresholds.*.nbc"
PROJECT = """
import os, numba, torch, optlayers as ol
assert ol.__file__.startswith(os.environ.get("PLACE", ""))
ol.project(ol.simplex(3), torch.tensor([1.0, 0.5, -1.0]))
print(repr(numba.config.CACHE_DIR))
"""


def project_with(place: folder.Path | None = None, **environment: str) -> str:
    """Project in a process of its own, with the package at a place; what it prints."""
    clean = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", PROJECT],
        capture_output=True,
        text=True,
        env=clean | environment,
        cwd=place,
        check=True,
    )
    return done.stdout.strip()


def test_loops_are_kept_with_the_user_and_numba_is_left_as_it_was(tmp_path):
    assert project_with(XDG_CACHE_HOME=str(tmp_path)) in ("''", "None")
    assert list(tmp_path.glob(LOOPS))


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(CONFIG, "CACHE_LOCATOR_CLASSES"), reason="this numba names folders by itself"
)
def test_another_installation_compiles_nothing_again(tmp_path):
    """The same package at two places, one after the other."""
    cache = tmp_path / "cache"
    found = []
    for name in ("one", "two"):
        shutil.copytree(folder.Path(optlayers.__file__).parent, tmp_path / name / "optlayers")
        assert project_with(
            tmp_path / name, XDG_CACHE_HOME=str(cache), PLACE=str(tmp_path / name)
        ) in ("''", "None")
        found.append({p: p.stat().st_mtime_ns for p in cache.glob(LOOPS)})
    assert found[0]
    assert found[0] == found[1]


def test_a_folder_that_was_named_comes_first(tmp_path):
    named, other = tmp_path / "named", tmp_path / "other"
    named.mkdir()
    assert project_with(NUMBA_CACHE_DIR=str(named), XDG_CACHE_HOME=str(other)) == repr(str(named))
    assert list(named.glob(LOOPS))
    assert not other.exists()


def test_without_a_home_loops_are_kept_beside_the_package(monkeypatch):
    def no_home():
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(folder.Path, "home", no_home)
    assert folder.places() == [folder.Path(folder.__file__).parent / "__pycache__"]


def test_where_nothing_can_be_written_numba_looks_for_a_place(monkeypatch):
    monkeypatch.setattr(CONFIG, "CACHE_DIR", "")
    monkeypatch.setattr(folder, "places", lambda: [folder.Path("/dev/null/nowhere")])
    assert folder.cache_folder() is None
    with folder.kept_in_folder("eisner"):
        assert not CONFIG.CACHE_DIR
    folder.tidy()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Return a folder of three files; the first imports the second, by either way of doing so."""
    texts = {"one": "from . import two\n", "two": "b = 1\n", "three": "c = 1\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(folder, "_HERE", tmp_path)
    yield tmp_path
    folder.imported_by.cache_clear()


@pytest.mark.parametrize(
    "text",
    ["from . import two", "from .two import (\n    a,\n)", "from .two import b as c"],
)
def test_a_file_is_kept_by_its_text_and_that_of_what_it_imports(text, files):
    (files / "one.py").write_text(text, encoding="utf-8")
    folder.imported_by.cache_clear()
    assert folder.imported_by("one") == ("two", "one")
    before = {name: folder.name_of(name) for name in ("one", "two", "three")}
    (files / "two.py").write_text("b = 2", encoding="utf-8")
    changed = [name for name, old in before.items() if folder.name_of(name) != old]
    assert changed == ["one", "two"]


def test_the_imports_of_all_loops_are_seen():
    """Against what their syntax trees say."""
    for path in sorted(folder.Path(folder.__file__).parent.glob("[a-z]*.py")):
        expected = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                expected |= {node.module} if node.module else {a.name for a in node.names}
        found = folder.imported_by(path.stem)
        assert found[-1] == path.stem
        assert expected <= set(found), path.stem


def test_what_nobody_used_for_long_is_removed(kept):
    used, old, recent = (kept / name for name in ("used", "old", "recent"))
    other = kept.parent / "numba-0.1" / "old"
    for each in (used, old, recent, other):
        each.mkdir(parents=True)
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    folder.tidy()
    assert {p.name for p in kept.parent.glob("*/*")} == {"used", "recent"}


def test_a_folder_that_is_used_is_no_longer_old(kept):
    own = kept / folder.name_of("eisner")
    own.mkdir()
    os.utime(own, (0, 0))
    with folder.kept_in_folder("eisner"):
        assert str(own) == CONFIG.CACHE_DIR
        with folder.kept_in_folder("trees"):
            assert str(kept / folder.name_of("trees")) == CONFIG.CACHE_DIR
    assert CONFIG.CACHE_DIR == ""
    assert time.time() - own.stat().st_mtime < 3600


# ---------------------------------------------------------------------- the line


@pytest.fixture
def said(monkeypatch):
    """What is said about compilations, which are long at once; and an event that is set then."""
    lines, event = [], threading.Event()
    monkeypatch.setattr(progress, "LONG", 0.0)
    monkeypatch.setattr(progress, "say", lambda text: (lines.append(text), event.set()))
    return lines, event


def test_a_long_compilation_is_told_once_by_the_name_of_its_loop(said):
    lines, event = said
    compilations = progress.Compilations()
    compilations.start("newton.newton")
    compilations.start("newton.solve")
    assert event.wait(60)
    compilations.end()
    compilations.end()
    assert len(lines) == 1
    assert lines[0].startswith("compiling newton.newton for the first time")


def test_a_short_compilation_is_not_told(monkeypatch):
    monkeypatch.setattr(progress, "LONG", 1e6)
    compilations = progress.Compilations()
    compilations.start("newton.newton")
    clock = compilations._clock
    compilations.end()
    clock.join(60)
    assert not clock.is_alive()


@pytest.mark.parametrize(("value", "lines"), [("1", 1), ("", 1), ("0", 0), ("no", 0), ("False", 0)])
def test_lines_can_be_silenced(value, lines, monkeypatch, capsys):
    monkeypatch.setenv("OPTLAYERS_PROGRESS", value)
    progress.say("text")
    assert capsys.readouterr().err == "optlayers: text\n" * lines


def test_a_long_call_says_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setenv("OPTLAYERS_PROGRESS", "1")
    clock = progress.Clock("projecting", 4)
    clock.tick(1)
    clock.said -= progress.PATIENCE
    clock.tick(2)
    clock.tick(3)
    expected = "projecting, 2 of 4 after 0 s; OPTLAYERS_PROGRESS=0 silences this"
    assert capsys.readouterr().err == f"optlayers: {expected}\n"


# ---------------------------------------------------------------------- warming up


@pytest.fixture
def one_set(monkeypatch):
    """A command that warms up one kind of set."""
    monkeypatch.setattr(warmup, "SETS", {"simplex": warmup.SETS["simplex"]})


def test_warming_up_tells_the_seconds_of_each_set(one_set, capsys):
    assert cli.main(["warmup", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["seconds"]) == {"simplex"}
    assert found["total"] == found["seconds"]["simplex"] > 0
    assert found["folder"]


def test_warming_up_prints_a_table(one_set, capsys):
    assert cli.main(["warmup"]) == 0
    out, err = capsys.readouterr()
    assert "simplex" in out
    assert "kept in" in out
    assert not err  # a bar where there is a terminal alone


def test_every_set_of_the_warm_up_can_be_asked():
    for name, make in warmup.SETS.items():
        assert make().event_shape if not hasattr(make(), "n") else make().n, name
