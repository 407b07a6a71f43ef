"""Files of trees and graphs: what is read, what is written, and how malformed ones are refused."""

import io
from dataclasses import replace

import pytest

from examples.data import (
    DataError,
    Sentence,
    read_conllu,
    read_sdp,
    write_companion,
    write_conllu,
    write_sdp,
)

CONLLU = """\
# newdoc
# sent_id = one
# text = She didn't
1\tShe\tshe\tPRON\tPRP\tCase=Nom|Case=Nom\t2\tnsubj\t2:nsubj\t_
2-3\tdidn't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
2\tdid\tdo\tAUX\tVBD\t_\t0\troot\t0:root\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t2:advmod\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t0:x\tCopyOf=2

# sent_id = two
1\tA  b\u00a0c\ta\x85b\tX\tFW\t_\t0\troot\t_\t_

"""
CONLLX = """\
1\tStocks\t_\tNNS\tNNS\t_\t2\tnsubj\t_\t_
2\tfell\t_\tVBD\tVBD\t_\t0\troot\t_\t_
3\t.\t_\t.\t.\t_\t2\tpunct\t_\t_

1\tNo\t_\tUH\tUH\t_\t0\troot\t_\t_

"""
SDP = """\
#SDP 2015
#22000001
1\tDogs\tdog\tNNS\t-\t-\tn:x\tARG1\t_
2\tbark\tbark\tVBP\t+\t+\tv:e-i\t_\tARG1
3\tloudly\tloud\tRB\t-\t+\ta:e\t_\t_

#22000002
1\t#\t#\t#\t-\t-\t_
2\tOh\toh\tUH\t+\t-\t_

"""
SDP_2014 = "".join(
    "\t".join(line.split("\t")[:6] + line.split("\t")[7:]) + "\n"
    for line in SDP.splitlines()[1:]
)  # fmt: skip
CPN = """\
#22000001
NNS\t2\tnsubj
VBP\t0\troot
RB\t2\tadvmod

#22000002
#\t2\tdep
UH\t0\troot

"""


@pytest.fixture
def save(tmp_path):
    """Saves text (or bytes) under a name and returns the path."""

    def save(text, name="file"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return save


def written(write, sentences, *options) -> str:
    stream = io.StringIO()
    write(stream, sentences, *options)
    return stream.getvalue()


# Reading and writing


def test_words_of_conllu_leave_out_ranges_and_empty_nodes(save):
    first, second = read_conllu(save(CONLLU))
    assert first.id == "one"
    assert first.words == ["She", "did", "n't"]
    assert first.lemmas == ["she", "do", "not"]
    assert first.tags == ["PRP", "VBD", "RB"]
    assert first.heads == [2, 0, 2]
    assert first.relations == ["nsubj", "root", "advmod"]
    assert first.arcs is None
    assert len(first) == 3
    assert second.words == ["A  b\u00a0c"]  # neither is a separator, nor is U+0085
    assert second.lemmas == ["a\x85b"]


def test_conllu_round_trip(save):
    assert written(write_conllu, read_conllu(save(CONLLU))) == CONLLU


def test_conllx_round_trip(save):
    first, second = read_conllu(save(CONLLX))
    assert (first.id, first.tags, first.heads) == ("", ["NNS", "VBD", "."], [2, 0, 2])
    assert second.words == ["No"]
    assert written(write_conllu, [first, second]) == CONLLX


def test_conllu_without_trees(save):
    text = CONLLX.replace("\t2\tnsubj", "\t_\t_").replace("\t0\troot", "\t_\t_")
    text = text.replace("\t2\tpunct", "\t_\t_")
    sentences = read_conllu(save(text))
    assert [s.heads for s in sentences] == [None, None]
    assert [s.relations for s in sentences] == [None, None]
    assert written(write_conllu, sentences) == text


def test_a_new_tree_in_an_old_sentence(save):
    first, second = read_conllu(save(CONLLU))
    changed = written(write_conllu, [replace(first, heads=[0, 1, 2]), second])
    assert changed == CONLLU.replace("\t2\tnsubj\t", "\t0\tnsubj\t").replace(
        "\t0\troot\t0:root", "\t1\troot\t0:root"
    )


def test_conllu_of_a_sentence_from_elsewhere():
    sentence = Sentence(["Hi", "!"], ["hi", "!"], ["UH", "."], id="x", heads=[0, 1])
    assert written(write_conllu, [sentence]) == (
        "# sent_id = x\n# text = Hi !\n"
        "1\tHi\thi\t_\tUH\t_\t0\t_\t_\t_\n2\t!\t!\t_\t.\t_\t1\t_\t_\t_\n\n"
    )


def test_graphs_of_2015(save):
    first, second = read_sdp(save(SDP))
    assert first.id == "22000001"
    assert first.arcs == [(1, 0, "ARG1"), (2, 1, "ARG1")]
    assert (first.tops, first.predicates) == ([1], [1, 2])
    assert first.frames == ["n:x", "v:e-i", "a:e"]
    assert first.heads is None
    assert second.words == ["#", "Oh"]
    assert (second.arcs, second.tops, second.predicates) == ([], [1], [])


def test_sdp_round_trips(save):
    sentences = read_sdp(save(SDP), save(CPN, "cpn"))
    assert sentences[0].heads == [2, 0, 2]
    assert sentences[0].relations == ["nsubj", "root", "advmod"]
    assert written(write_sdp, sentences) == SDP
    assert written(write_companion, sentences) == CPN
    assert written(write_sdp, sentences, 2014) == SDP_2014
    old = read_sdp(save(SDP_2014, "old"))
    assert [s.frames for s in old] == [None, None]
    assert [s.arcs for s in old] == [s.arcs for s in sentences]
    assert written(write_sdp, old, 2014) == SDP_2014


def test_the_format_of_a_file_without_header_is_seen_from_its_columns(save):
    headless = SDP.removeprefix("#SDP 2015\n")
    assert read_sdp(save(headless))[0].frames == ["n:x", "v:e-i", "a:e"]


def test_predicates_are_the_words_with_arcs_unless_given(save):
    first, _ = read_sdp(save(SDP))
    text = written(write_sdp, [replace(first, arcs=first.arcs[:1], predicates=None)])
    assert text.splitlines()[2:5] == [
        "1\tDogs\tdog\tNNS\t-\t-\tn:x\tARG1",
        "2\tbark\tbark\tVBP\t+\t+\tv:e-i\t_",
        "3\tloudly\tloud\tRB\t-\t-\ta:e\t_",
    ]


def test_predicates_may_be_given_in_any_order(save):
    first, second = read_sdp(save(SDP))
    turned = replace(first, predicates=[2, 1], arcs=first.arcs[::-1])
    assert written(write_sdp, [turned, second]) == SDP


def test_files_appear_complete_or_not_at_all(save, tmp_path):
    good, _ = read_sdp(save(SDP))
    target = tmp_path / "new" / "out.sdp"
    with pytest.raises(DataError, match="has no graph"):
        write_sdp(target, [good, replace(good, arcs=None)])
    assert list(target.parent.iterdir()) == []
    write_sdp(target, [good])
    assert [path.name for path in target.parent.iterdir()] == ["out.sdp"]
    assert read_sdp(target)[0].arcs == good.arcs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arcs": None}, r"'22000001' has no graph \(`arcs` is None\)"),
        ({"arcs": [(0, 1, "A")]}, "an arc from word 0, which is not in `predicates`"),
        ({"arcs": [(1, 3, "A")]}, "has 3 words, and an arc from 1 to 3"),
        ({"arcs": [(1, 0, "A"), (1, 0, "B")]}, "two labels from word 1 to 0: A and B"),
        ({"id": ""}, "needs an id without tabs. Got ''"),
        (
            {"words": ["a\tb", "c", "d"]},
            r"must not be empty nor hold tabs .* Got 'a\\tb'",
        ),
    ],
)
def test_graphs_that_cannot_be_written(save, change, message):
    first, _ = read_sdp(save(SDP))
    with pytest.raises(DataError, match=message):
        written(write_sdp, [replace(first, **change)])


def test_companions_need_trees(save):
    with pytest.raises(DataError, match="'22000001' has no labelled tree"):
        written(write_companion, read_sdp(save(SDP)))


# Malformed files: file, line, reason


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t2\tpunct\t_\t_", "\t2\tpunct\t_", r"file:3: wanted 10 columns .*, found 9\."),
        ("3\t.\t_\t.\t.\t_\t2", "3 . _ . . _ 2", r"file:3: wanted 10 columns .*, found 4\."),
        ("2\tfell", "3\tfell", r"file:2: wanted word 2, found '3'\."),
        ("2\tfell", "two\tfell", r"file:2: wanted word 2, found 'two'\."),
        ("2\tfell", "_\tfell", r"file:2: wanted word 2, found '_'\."),
        ("\t2\tpunct", "\t4\tpunct", r"file:3: bad head 4 of word 3: wanted another word of 1\.\."),
        ("\t2\tpunct", "\t-1\tpunct", r"file:3: bad head -1 of word 3"),
        ("\t2\tpunct", "\t3\tpunct", r"file:3: bad head 3 of word 3"),
        ("\t2\tpunct", "\tx\tpunct", r"file:3: bad head 'x': wanted a number\."),
        ("\t2\tpunct", "\t_\tpunct", r"file:3: bad head '_': wanted a number\."),
        ("\t0\troot", "\t1\troot", r"file:1: bad head: words go round in a circle, 1 -> 2 -> 1\."),
        ("\n\n1\tNo", "\n1\tNo", r"file:4: missing blank line before this sentence"),
        ("\n\n1\tNo", "\n# c\n\n1\tNo", r"file:4: missing blank line before this comment\."),
        ("\n\n1\tNo", "\n\n# c\n\n1\tNo", r"file:5: a sentence without words\."),
        ("_\n\n1\tNo\t_\tUH\tUH\t_\t0\troot\t_\t_\n\n", "_\n", r"file:3: missing blank line after"),
        ("\t_\n\n1\tNo\t_\tUH\tUH\t_\t0\troot\t_\t_\n\n", "", r"file:3: the file breaks off with"),
        ("fell\t_\tVBD", "fell\t_\tVBD\t\t", r"file:2: wanted 10 columns .*, found 12\."),
        ("\n\n1\tNo", "\r\n\n1\tNo", r"file:3: Windows line ends\."),
    ],
)  # fmt: skip
def test_malformed_trees(save, old, new, message):
    assert old in CONLLX
    with pytest.raises(DataError, match=message):
        read_conllu(save(CONLLX.replace(old, new, 1)))


def test_duplicate_ids_of_trees(save):
    text = CONLLU.replace("sent_id = two", "sent_id = one")
    with pytest.raises(DataError, match=r"file:10: duplicate id 'one': it is on line 1 too\."):
        read_conllu(save(text))


@pytest.mark.parametrize("read", [read_conllu, read_sdp])
def test_unreadable_files(save, read, tmp_path):
    with pytest.raises(DataError, match=r"none cannot be read: No such file"):
        read(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
        read(tmp_path)
    latin = save("#SDP 2015\n#1\n1\tcafé\n\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"file:3: byte 6 of the line \(0xe9\) is not UTF-8\."):
        read_sdp(latin)
    with pytest.raises(DataError, match=r"file:2: byte 6 of the line \(0xe9\) is not UTF-8\."):
        read_conllu(save("# x\n1\tcafé\n\n".encode("latin-1")))


def test_heads_that_form_no_tree_are_accepted_from_systems(save):
    text = CONLLX.replace("\t0\troot", "\t1\troot", 1)
    assert read_conllu(save(text), trees=False)[0].heads == [2, 1, 2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("#SDP 2015", "#SDP 2013", r"file:1: wanted '#SDP 2015' or no header, found '#SDP 2013'"),
        ("#22000001\n", "", r"file:2: wanted '#' and the sentence's id, found '1\\tDogs"),
        ("1\tDogs\tdog\tNNS\t-\t-\tn:x\tARG1\t_", "1\tDogs", r"file:3: wanted at least 7 .* 2\."),
        ("bark\tVBP\t+\t+", "bark\tVBP\t+\t-", r"file:3: 1 words have PRED \+, .* found 2 of them"),
        ("\tARG1\t_\n", "\tARG1\n", r"file:3: 2 words have PRED \+, .* found 1 of them"),
        ("\t_\t_\n\n", "\t_\t_\t_\n\n", r"file:5: 2 words have PRED \+, .* found 3 of them"),
        ("bark\tVBP\t+\t+", "bark\tVBP\t*\t+", r"file:4: wanted \+ or - in column TOP, found '\*'"),
        ("bark\tVBP\t+\t+", "bark\tVBP\t+\t1", r"file:4: wanted \+ or - in column PRED, found '1'"),
        ("2\tbark", "3\tbark", r"file:4: wanted word 2, found '3'\."),
        ("\n\n#22000002\n", "\n", r"file:6: wanted word 4, found '1'\. A missing blank line"),
        ("\n\n#22000002", "\n#22000002", r"file:6: missing blank line before sentence #22000002"),
        ("#22000002\n", "#22000002\n\n", r"file:7: a sentence without words\."),
        ("22000002", "22000001", r"file:7: duplicate id '22000001': it is on line 2 too\."),
        ("-\t_\n\n", "-\t_\n", r"file:9: missing blank line after the last sentence\."),
    ],
)  # fmt: skip
def test_malformed_graphs(save, old, new, message):
    assert old in SDP
    with pytest.raises(DataError, match=message):
        read_sdp(save(new.join(SDP.rsplit(old, 1))))


def test_malformed_graphs_of_2014(save):
    text = SDP_2014.replace("\tARG1\t_\n", "\tARG1\t_\t_\t_\n")
    with pytest.raises(DataError, match=r"file:2: 2 words .* wanted 8 columns \(2014\) or 9 .* 10"):
        read_sdp(save(text))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("#22000002", "#22000003", r"cpn:6: does .*file: wanted .*#22000002, found #22000003"),
        ("RB\t2\tadvmod\n", "", r"cpn:1: does not fit .*file: wanted 3 words, found 2\."),
        ("#22000002\n#\t2\tdep\nUH\t0\troot\n\n", "", r"cpn does not fit: sentence #22000002 of"),
        ("RB\t2\tadvmod\n\n", "RB\t2\tadvmod\n\n#9\nX\t0\tr\n\n", r"cpn:6: does not .*found #9"),
        ("root\n\n", "root\n\n#9\nX\t0\tr\n\n", r"cpn:10: does not .*: wanted its end, found #9"),
        ("RB\t2\tadvmod", "RB\t2", r"cpn:4: wanted 3 columns separated by tabs, found 2\."),
        ("RB\t2\tadvmod", "RB\t4\tadvmod", r"cpn:4: bad head 4 of word 3"),
        ("RB\t2\tadvmod", "RB\t-\tadvmod", r"cpn:4: bad head '-': wanted a number\."),
        ("VBP\t0", "VBP\t3", r"cpn:2: bad head: words go round in a circle, 2 -> 3 -> 2\."),
        ("\n\n#22000002", "\n#22000002", r"cpn:5: missing blank line before sentence #22000002"),
    ],
)  # fmt: skip
def test_companions_that_do_not_fit(save, old, new, message):
    graphs = save(SDP)
    assert old in CPN
    with pytest.raises(DataError, match=message):
        read_sdp(graphs, save(new.join(CPN.rsplit(old, 1)), "cpn"))


# Real files


@pytest.mark.parametrize(
    ("name", "sentences", "tokens"),
    [("dev", 2_001, 25_147), ("test", 2_077, 25_094), ("train", 12_544, 204_577)],
)
def test_round_trip_of_real_trees(data_dir, name, sentences, tokens):
    path = data_dir / "ud_ewt" / f"en_ewt-ud-{name}.conllu"
    corpus = read_conllu(path)
    assert (len(corpus), sum(map(len, corpus))) == (sentences, tokens)
    assert written(write_conllu, corpus).encode() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "sentences", "tokens"), [("dev", 1_968, 24_892), ("train", 12_524, 204_207)]
)
def test_round_trip_of_real_graphs_with_trees(data_dir, name, sentences, tokens):
    path = data_dir / "up_ewt" / f"en_ewt-up-{name}.sdp"
    corpus = read_sdp(path, path.with_suffix(".cpn"))
    assert (len(corpus), sum(map(len, corpus))) == (sentences, tokens)
    assert written(write_sdp, corpus).encode() == path.read_bytes()
    assert written(write_companion, corpus).encode() == path.with_suffix(".cpn").read_bytes()


@pytest.mark.parametrize(
    ("name", "arcs", "labels", "tops"), [("dm", 1_478, 23, 88), ("psd", 1_257, 54, 97)]
)
def test_round_trip_of_real_graphs(data_dir, name, arcs, labels, tops):
    path = data_dir / "sdp" / f"wsj89.{name}.sdp"
    corpus = read_sdp(path)
    assert sum(len(s.arcs) for s in corpus) == arcs
    assert len({label for s in corpus for _, _, label in s.arcs}) == labels
    assert sum(len(s.tops) for s in corpus) == tops
    assert written(write_sdp, corpus).encode() == path.read_bytes()


def test_round_trip_of_real_graphs_of_2014(data_dir):
    path = data_dir / "sdp" / "trial2014_pas_2sents.sdp"
    corpus = read_sdp(path)
    assert [len(s) for s in corpus] == [13, 10]
    assert (1, 0, "noun_ARG1") not in (corpus[0].arcs or ())
    assert (0, 1, "noun_ARG1") in (corpus[0].arcs or ())
    assert written(write_sdp, corpus, 2014).encode() == path.read_bytes()


# ---------------------------------------------------------------------- marks, gaps, two roots


@pytest.mark.parametrize("read", [read_conllu, read_sdp])
def test_a_byte_order_mark_is_passed_over(read, tmp_path):
    text = CONLLU if read is read_conllu else SDP
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    plain.write_text(text, encoding="utf-8")
    marked.write_text(text, encoding="utf-8-sig")
    assert read(marked) == read(plain)


def test_utf_16_is_named(tmp_path):
    path = tmp_path / "wide.conllu"
    path.write_text(CONLLU, encoding="utf-16")
    with pytest.raises(DataError, match=r"wide\.conllu:1: the file is UTF-16"):
        read_conllu(path)


@pytest.mark.parametrize(("column", "name"), [(1, "FORM"), (2, "LEMMA"), (6, "HEAD"), (9, "MISC")])
@pytest.mark.parametrize("gap", ["", " "])
def test_an_empty_column_of_a_tree_is_refused_with_its_line(column, name, gap, tmp_path):
    path = tmp_path / "a.conllu"
    fields = CONLLX.splitlines()[1].split("\t")
    fields[column] = gap
    path.write_text(CONLLX.splitlines()[0] + "\n" + "\t".join(fields) + "\n\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.conllu:2: {name} is empty\. Write _"):
        read_conllu(path)


@pytest.mark.parametrize(
    ("column", "name"), [(1, "FORM"), (2, "LEMMA"), (6, "FRAME"), (7, "an argument's label")]
)
def test_an_empty_column_of_a_graph_is_refused_with_its_line(column, name, tmp_path):
    path = tmp_path / "a.sdp"
    lines = SDP.splitlines()[:5]
    fields = lines[3].split("\t")
    fields[column] = ""
    lines[3] = "\t".join(fields)
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.sdp:4: {name} is empty"):
        read_sdp(path)


def test_an_empty_column_of_a_companion_is_refused(tmp_path):
    graphs, companion = tmp_path / "a.sdp", tmp_path / "a.cpn"
    graphs.write_text(SDP, encoding="utf-8")
    companion.write_text(CPN.replace("VBP\t0\troot", "VBP\t0\t"), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.cpn:3: DEPREL is empty"):
        read_sdp(graphs, companion)


def test_two_words_under_the_root(tmp_path):
    path = tmp_path / "two.conllu"
    path.write_text(CONLLX.replace("\t2\tpunct", "\t0\tpunct"), encoding="utf-8")
    with pytest.raises(DataError, match=r"two\.conllu:3: words 2 and 3 both hang on the root"):
        read_conllu(path)
    assert read_conllu(path, single_root=False)[0].heads == [2, 0, 0]


def test_blank_lines_beyond_one_are_not_kept(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text("\n" + CONLLU.replace("\n\n", "\n\n\n"), encoding="utf-8")
    out = io.StringIO()
    write_conllu(out, read_conllu(path))
    assert out.getvalue() == CONLLU
