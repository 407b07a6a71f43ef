"""The Stanford Sentiment Treebank: its reader, its parts by name, and how it is fetched."""

import hashlib
import io
import zipfile
from collections import Counter
from dataclasses import replace

import pytest

from examples.data import PARTS, DataError, load_reviews, read_sst
from examples.data import __main__ as command
from examples.data.download import sha256
from examples.data.fetch_sst import SST, Treebank, fetch_sst
from examples.data.sst import read_tree, sst_file

from .test_data_fetch import Server

TREES = """\
(3 (2 A) (4 (3 great) (2 film)))
(2 (2 A) (2 film))

(0 (2 A) (0 (1 bad) (2 film)))
(4 (3 Fun) (2 !))
(1 (1 Dull) (2 .))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.txt"

    def write(content: str | bytes):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# Files


def test_sentences_of_a_file(file):
    sentences = read_sst(file(TREES))
    assert [s.id for s in sentences] == [f"sst-train-{k}" for k in (1, 4, 5, 6)]
    assert [s.sentiment for s in sentences] == [1.0, 0.0, 1.0, 0.0]
    assert [s.words for s in sentences][:2] == [["A", "great", "film"], ["A", "bad", "film"]]
    for s in sentences:
        assert s.lemmas == s.tags == ["_"] * len(s)
        assert s.lemmas is not s.tags
        assert s.heads is s.arcs is None


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("-LRB-", "("),
        ("-RRB-", ")"),
        ("-LSB-", "["),
        ("-RSB-", "]"),
        ("-LCB-", "{"),
        ("-RCB-", "}"),
        (r"and\/or", "and/or"),
        (r"\*", "*"),
        (r"s\*\*t", "s**t"),
        (r"1\/2\/3", "1/2/3"),
        ("8\N{NO-BREAK SPACE}1\\/2", "8\N{NO-BREAK SPACE}1/2"),
        ("line\N{LINE SEPARATOR}separator", "line\N{LINE SEPARATOR}separator"),
        ("Næs", "Næs"),
        ("``", "``"),
        ("x-LRB-", "x-LRB-"),
    ],
)
def test_escapes(file, token, word):
    (sentence,) = read_sst(file(f"(3 (2 {token}) (2 .))\n"))
    assert sentence.words == [word, "."]


def test_deep_trees():
    assert read_tree("(1 " * 5000 + "deep" + ")" * 5000) == (1, ["deep"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 great)", r"a tree begins with '\('. Found '3'"),
        (")", r"a tree begins with '\('. Found '\)'"),
        ("(3 (2 a) (2 film)", r"the tree is not closed: 1 '\)' missing"),
        ("(3 (2 a) (2 film", r"the tree is not closed: 2 '\)' missing"),
        ("(3 (2 a)) (2 b)", r"one tree per line is expected. Found '\(' after the first"),
        ("(3 a))", r"one tree per line is expected. Found '\)' after the first"),
        ("(7 great)", "a node needs a label from 0 to 4. Found '7'"),
        ("(3 (5 great))", "a node needs a label from 0 to 4. Found '5'"),
        ("(-1 great)", "a node needs a label from 0 to 4. Found '-1'"),
        ("(great)", "a node needs a label from 0 to 4. Found 'great'"),
        ("(3 (2 a) (", "a node needs a label from 0 to 4. Found 'the end of the line'"),
        ("(3 )", "a node holds neither a word nor nodes"),
        ("(3 a film)", "either one word or nodes. Found the word 'film' as well"),
        ("(3 (2 a) film)", "either one word or nodes. Found the word 'film' as well"),
        ("(3 a (2 film))", "either one word or nodes. Found both at 'a'"),
    ],
)
def test_a_malformed_line_is_named(file, line, message):
    with pytest.raises(DataError, match=rf"train\.txt:3: .*{message}"):
        read_sst(file(f"(3 fine)\n\n{line}\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"(3 fine)\n(3 (2 a) (2 fi", r"train\.txt:2: the tree is not closed: 2 '\)' missing"),
        (b"(3 fine)\r\n", r"train\.txt:1: Windows line ends\."),
        (b"(3 fine)\n(3 N\xe6s)\n", r"train\.txt:2: byte 5 of the line \(0xe6\) is not UTF-8"),
        (b"(2 neutral)\n", r"train\.txt: no sentence that is not neutral\."),
        (b"", r"train\.txt: no sentence that is not neutral\."),
    ],
)
def test_files_that_are_damaged(file, content, message):
    with pytest.raises(DataError, match=message):
        read_sst(file(content))


def test_the_last_line_need_not_end(file):
    assert [s.words for s in read_sst(file(b"(3 fine)\n(1 bad)"))] == [["fine"], ["bad"]]


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt cannot be read: No such file"):
        read_sst(tmp_path / "none.txt")


# Parts


@pytest.fixture
def folder(tmp_path):
    for part in PARTS:
        sst_file(tmp_path, part).parent.mkdir(exist_ok=True)
        sst_file(tmp_path, part).write_text(TREES)
    return tmp_path


def test_parts_by_name(folder, monkeypatch):
    reviews = load_reviews("sst", data=folder)
    assert tuple(reviews) == PARTS
    assert {part: held[0].id for part, held in reviews.items()} == {
        "train": "sst-train-1",
        "dev": "sst-dev-1",
        "test": "sst-test-1",
    }
    monkeypatch.setenv("OPTLAYERS_DATA", str(folder))
    assert load_reviews("sst") == reviews
    short = load_reviews("sst", max_words=2)
    for part in PARTS:
        assert [s.id for s in short[part]] == [f"sst-{part}-5", f"sst-{part}-6"]


def test_where_the_treebank_is_looked_for(folder, monkeypatch, tmp_path):
    monkeypatch.delenv("OPTLAYERS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"cache.optlayers.data.sst.train\.txt does not exist\."):
        load_reviews("sst")
    sst_file(folder, "dev").unlink()
    with pytest.raises(
        DataError,
        match=r"dev\.txt does not exist\. Fetch the treebank \(python -m examples\.data fetch "
        r"sst\), or name the folder that has sst/ by `data` or by OPTLAYERS_DATA\.",
    ):
        load_reviews("sst", data=folder)


def test_reviews_and_options_that_do_not_exist(folder):
    with pytest.raises(DataError, match=r"no reviews 'imdb'\. Choose one of toy, sst\."):
        load_reviews("imdb")
    with pytest.raises(TypeError, match="unexpected keyword argument 'seed'"):
        load_reviews("sst", data=folder, seed=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'data'"):
        load_reviews("toy", data=folder)


def test_the_real_treebank(data_dir):
    reviews = load_reviews("sst", data=data_dir)
    assert {part: len(held) for part, held in reviews.items()} == {
        "train": 6_920,
        "dev": 872,
        "test": 1_821,
    }
    positive = {part: Counter(s.sentiment for s in held)[1.0] for part, held in reviews.items()}
    assert positive == {"train": 3_610, "dev": 444, "test": 909}
    everything = [s for held in reviews.values() for s in held]
    assert len({s.id for s in everything}) == len(everything)
    assert {s.sentiment for s in everything} == {0.0, 1.0}
    first = reviews["dev"][0]
    assert " ".join(first.words) == (
        "It 's a lovely film with lovely performances by Buy and Accorsi ."
    )
    assert (first.id, first.sentiment) == ("sst-dev-1", 1.0)
    words = {word for s in everything for word in s.words}
    assert {"(", ")", "8\N{NO-BREAK SPACE}1/2"} <= words
    assert not [word for word in words if "RB-" in word or "\\" in word]
    assert max(map(len, everything)) == 56


# Fetching


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def archive(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as held:
        for name, content in files.items():
            held.writestr(name, content)
    return stream.getvalue()


def digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def publish(server: Server, files: dict[str, str]) -> Treebank:
    """Puts an archive of files on the server."""
    server.files["trees.zip"] = archive(files)
    return Treebank(
        url=server.url("trees.zip"),
        archive=digest(server.files["trees.zip"]),
        files={part: digest(files.get(f"trees/{part}.txt", "")) for part in PARTS},
    )


FILES = {f"trees/{part}.txt": f"(3 {part})\n" * 500 for part in PARTS}


@pytest.fixture
def treebank(server) -> Treebank:
    return publish(server, {"trees/": "", **FILES, "__MACOSX/trees/train.txt": "else"})


def fetch(folder, treebank) -> list[str]:
    said: list[str] = []
    fetch_sst(folder, treebank, say=said.append)
    return said


def files_in(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


WANTED = [f"sst/{part}.txt" for part in ("dev", "test", "train")]


def test_fetch(server, treebank, tmp_path):
    said = fetch(tmp_path, treebank)
    assert said == [f"{sst_file(tmp_path, part)}: fetched" for part in PARTS]
    assert files_in(tmp_path) == WANTED
    for part in PARTS:
        assert sst_file(tmp_path, part).read_text() == FILES[f"trees/{part}.txt"]
    assert load_reviews("sst", data=tmp_path)["dev"][0].words == ["dev"]
    assert all(line.endswith(": there already") for line in fetch(tmp_path, treebank))
    assert server.requests == 1


def test_what_is_missing_or_damaged_is_fetched_again(server, treebank, tmp_path):
    fetch(tmp_path, treebank)
    sst_file(tmp_path, "dev").write_text("(3 half")
    sst_file(tmp_path, "test").unlink()
    said = fetch(tmp_path, treebank)
    assert [line.rpartition(": ")[2] for line in said] == ["there already", "fetched", "fetched"]
    assert sst_file(tmp_path, "dev").read_text() == FILES["trees/dev.txt"]
    assert files_in(tmp_path) == WANTED


def test_another_archive_is_refused(treebank, tmp_path):
    with pytest.raises(DataError, match="wanted SHA-256 0000, and something else arrived"):
        fetch(tmp_path, replace(treebank, archive="0000"))
    assert files_in(tmp_path) == []


def test_another_file_in_the_archive_is_refused(treebank, tmp_path):
    wrong = replace(treebank, files={**treebank.files, "dev": "0000"})
    with pytest.raises(DataError, match=r"sst\.zip: its trees/dev\.txt is not the known one"):
        fetch(tmp_path, wrong)
    assert files_in(tmp_path) == ["sst.zip", "sst/train.txt"]


def test_nothing_else_leaves_the_archive(server, tmp_path):
    names = ("../evil.txt", f"{tmp_path}/evil.txt", "trees/../../evil.txt", "trees/more.txt")
    folder = tmp_path / "deep" / "data"
    fetch(folder, publish(server, FILES | dict.fromkeys(names, "x")))
    assert files_in(tmp_path) == [f"deep/data/{name}" for name in WANTED]


def test_the_command(treebank, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "fetch_sst", lambda to, **kw: fetch_sst(to, treebank, **kw))
    assert command.main(["fetch", "sst", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "train.txt: fetched" in out
    assert "Socher et al. (2013)" in out
    assert "CC BY-SA" not in out
    assert files_in(tmp_path) == WANTED
    sst_file(tmp_path, "dev").unlink()
    gone = replace(treebank, url=treebank.url + ".old")
    monkeypatch.setattr(command, "fetch_sst", lambda to, **kw: fetch_sst(to, gone, **kw))
    assert command.main(["fetch", "sst", "--to", str(tmp_path)]) == 2
    assert "404 " in capsys.readouterr().err


def test_the_pinned_figures_are_those_of_the_real_files(data_dir):
    for part in PARTS:
        assert sha256(sst_file(data_dir, part)) == SST.files[part]
