"""Downloads, against a server on this machine that can break off, refuse and forget."""

import hashlib
import io
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from examples.data import DataError, load_corpus, read_sdp
from examples.data import __main__ as command
from examples.data.download import download, sha256
from examples.data.fetch import EWT, Part, Release, default_folder, fetch_ewt, graph_file, tree_file

from .test_data_propbank import SKELETON

BODY = bytes(range(256)) * 2_000
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`; `limits` says after how many bytes each answer breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.limits: list[int] = []
        self.requests = 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self):
        self.server.requests += 1
        body = self.server.files.get(self.path[1:])
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        limit = self.server.limits.pop(0) if self.server.limits else len(body)
        self.wfile.write(body[:limit])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts
    server = Server()
    server.files["file"] = BODY
    yield server
    server.shutdown()
    server.server_close()


def test_download(server, tmp_path):
    path = tmp_path / "new" / "file"
    assert download(server.url("file"), path, DIGEST)
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    path.write_bytes(b"else")
    assert download(server.url("file"), path, DIGEST)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("digest", [DIGEST, None])
def test_what_is_there_is_not_fetched_again(server, tmp_path, digest):
    (tmp_path / "file").write_bytes(BODY)
    assert not download(server.url("file"), tmp_path / "file", digest)
    assert server.requests == 0


def test_a_broken_connection_is_tried_again(server, tmp_path):
    server.limits = [1_000, 2_000]
    assert download(server.url("file"), tmp_path / "file", DIGEST)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == 3


def test_another_file_than_wanted_is_not_kept(server, tmp_path):
    with pytest.raises(DataError, match=r"file: wanted SHA-256 0000, and something else arrived"):
        download(server.url("file"), tmp_path / "file", "0000")
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_server(server, tmp_path):
    with pytest.raises(DataError, match=r"other: 404 .*Run the same command again"):
        download(server.url("other"), tmp_path / "file", DIGEST)
    assert list(tmp_path.iterdir()) == []


def test_no_network(server, tmp_path):
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/file: .*it needs a network\."):
        download("http://127.0.0.1:9/file", tmp_path / "file", DIGEST)
    assert list(tmp_path.iterdir()) == []


# The corpus


CONLLU = """\
# sent_id = answers-doc-0001
1\tDogs\tdog\t_\tNNS\t_\t6\tnsubj\t_\t_
2\tthat\tthat\t_\tWDT\t_\t3\tnsubj\t_\t_
3\tbark\tbark\t_\tVBP\t_\t1\tacl:relcl\t_\t_
4\tloudly\tloudly\t_\tRB\t_\t3\tadvmod\t_\t_
5\tseldom\tseldom\t_\tRB\t_\t6\tadvmod\t_\t_
6\tbite\tbite\t_\tVBP\t_\t0\troot\t_\t_
7\t.\t.\t_\t.\t_\t6\tpunct\t_\t_

# sent_id = answers-doc-0002
1\tOh\toh\t_\tUH\t_\t0\troot\t_\t_

"""
DROPPED = "answers-doc-0002\tno-propbank\n"


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"propbank-release-abc/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def release(server):
    """A release of one sentence with a graph and one without, in each part."""
    server.files = {f"en_ewt-ud-{part}.conllu": CONLLU.encode() for part in EWT.trees}
    server.files["tar/abc"] = archive(
        {
            "README.md": b"x",
            "data/google/ewt/answers/00/doc.xml.gold_skel": f"{SKELETON}\n".encode(),
            "data/google/ewt/answers/00/other.xml.gold_skel": b"not needed, so not read",
            "data/google/ewt/answers/00/doc.xml.prop": b"x",
            "data/ontonotes/x/doc.xml.gold_skel": b"x",
        }
    )
    digest = hashlib.sha256(CONLLU.encode()).hexdigest()
    dropped = hashlib.sha256(DROPPED.encode()).hexdigest()
    return Release(
        trees=dict.fromkeys(EWT.trees, digest),
        graphs={part: Part((1, 7), "?", "?", dropped) for part in EWT.graphs},
        tree_url=server.url("en_ewt-ud-{part}.conllu"),
        skeleton_url=server.url("tar/abc"),
    )


def fetch_all(folder, release):
    said: list[str] = []
    fetch_ewt(folder, release, say=said.append)
    return said


def test_fetch_ewt(server, release, tmp_path):
    said = fetch_all(tmp_path, release)
    assert [line.rpartition(": ")[2] for line in said[:3]] == ["fetched"] * 3
    assert "1 sentences, but NOT byte for byte" in said[3]
    graph = read_sdp(graph_file(tmp_path, "train"), graph_file(tmp_path, "train", "cpn"))[0]
    assert (5, 0, "ARG0") in (graph.arcs or ())
    assert graph.heads == [6, 3, 1, 3, 6, 0, 6]
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == [
        "dropped-dev.txt",
        "dropped-train.txt",
        *(f"en_ewt-ud-{part}.conllu" for part in ("dev", "test", "train")),
        *(f"en_ewt-up-{part}.{kind}" for part in ("dev", "train") for kind in ("cpn", "sdp")),
    ]
    assert (tmp_path / "up_ewt" / "dropped-dev.txt").read_text() == DROPPED
    before = server.requests
    assert all(line.endswith("there already") for line in fetch_all(tmp_path, release))
    assert server.requests == before


def test_known_graphs_are_recognised(release, tmp_path):
    fetch_all(tmp_path / "first", release)
    known = {
        part: replace(
            wanted,
            sdp=sha256(graph_file(tmp_path / "first", part)),
            companion=sha256(graph_file(tmp_path / "first", part, "cpn")),
        )
        for part, wanted in release.graphs.items()
    }
    said = fetch_all(tmp_path / "second", replace(release, graphs=known))
    assert said[3].endswith("1 sentences, as in the results in docs/")


def test_graphs_of_another_size_are_refused(release, tmp_path):
    wrong = replace(release, graphs={"dev": replace(release.graphs["dev"], size=(2, 8))})
    with pytest.raises(
        DataError,
        match=r"The dev graphs .* wanted 2 sentences of 8 tokens together, found 1 of 7, .*"
        r"Nothing was written",
    ):
        fetch_all(tmp_path, wrong)
    assert not (tmp_path / "up_ewt").exists()
    wrong = replace(release, graphs={"dev": replace(release.graphs["dev"], dropped="?")})
    with pytest.raises(DataError, match="1 sentences left out, not the right ones"):
        fetch_all(tmp_path, wrong)
    assert any(
        line.startswith(f"{graph_file(tmp_path, 'dev')}") for line in fetch_all(tmp_path, release)
    )


@pytest.mark.parametrize("content", [b"no archive", archive({"x": bytes(100_000)})[:-20]])
def test_broken_archives_are_removed(server, release, tmp_path, content):
    server.files["tar/abc"] = content
    with pytest.raises(DataError, match=r"propbank-abc\.tar\.gz: not a complete \.tar\.gz"):
        fetch_all(tmp_path, release)
    assert not list(tmp_path.glob("propbank*"))


def test_an_archive_without_skeletons(server, release, tmp_path):
    server.files["tar/abc"] = archive({"x": b""})
    with pytest.raises(DataError, match=r"holds no data/google/ewt/\*/\*\.xml\.gold_skel"):
        fetch_all(tmp_path, release)


def test_the_command(release, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "fetch_ewt", lambda to, **kw: fetch_ewt(to, release, **kw))
    assert command.main(["fetch", "ewt", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "NOT byte for byte" in out
    assert "CC BY-SA 4.0" in out
    assert tree_file(tmp_path, "test").is_file()
    gone = replace(release, trees={"other": "?"})
    monkeypatch.setattr(command, "fetch_ewt", lambda to, **kw: fetch_ewt(to, gone, **kw))
    assert command.main(["fetch", "ewt", "--to", str(tmp_path)]) == 2
    assert "error: http" in capsys.readouterr().err


def test_where_fetched_data_goes(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "optlayers" / "data"
    assert command.parser().parse_args(["fetch", "ewt"]).to == default_folder()
    monkeypatch.delenv("OPTLAYERS_DATA", raising=False)
    with pytest.raises(DataError, match=rf"{tmp_path}.* does not exist\. Fetch the corpus"):
        load_corpus("ewt")


def test_the_pinned_figures_are_those_of_the_real_files(data_dir):
    for part, digest in EWT.trees.items():
        assert sha256(tree_file(data_dir, part)) == digest
    for part, wanted in EWT.graphs.items():
        assert sha256(graph_file(data_dir, part)) == wanted.sdp
        assert sha256(graph_file(data_dir, part, "cpn")) == wanted.companion
        assert sha256(data_dir / "up_ewt" / f"dropped-{part}.txt") == wanted.dropped
        sentences = read_sdp(graph_file(data_dir, part))
        assert (len(sentences), sum(map(len, sentences))) == wanted.size


def test_fetching_the_real_development_part(server, tmp_path, data_dir):
    server.files = {path.name: path.read_bytes() for path in (data_dir / "ud_ewt").iterdir()}
    folder = data_dir / "propbank_ewt_dev"
    server.files["tar/abc"] = archive(
        {
            f"data/google/ewt/{path.relative_to(folder).as_posix()}": path.read_bytes()
            for path in folder.rglob("*.gold_skel")
        }
    )
    release = replace(
        EWT,
        graphs={"dev": EWT.graphs["dev"]},
        tree_url=server.url("en_ewt-ud-{part}.conllu"),
        skeleton_url=server.url("tar/abc"),
    )
    assert fetch_all(tmp_path, release)[-1].endswith(", as in the results in docs/")
