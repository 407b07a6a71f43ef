"""PropBank's skeletons made into graphs."""

import io
from dataclasses import replace

import pytest

from examples.data import DataError, Sentence, read_conllu, write_companion, write_sdp
from examples.data.propbank import (
    Skeleton,
    convert,
    document_id,
    read_folder,
    read_skeletons,
    read_spans,
)

LINE = "google/ewt/answers/00/doc.xml  {}  {}  [WORD]  XX  (S*  {}  {}  {} \n"
# Dogs that bark loudly seldom bite .
SKELETON = "".join(
    LINE.format(0, token, lemma, sense, spans)
    for token, (lemma, sense, spans) in enumerate(
        [
            ("-", "-", "(ARG0*)  (ARG0*"),
            ("-", "-", "(R-ARG0*)  *"),
            ("bark", "bark.01", "(V*)  *"),
            ("-", "-", "(ARGM-MNR*)  *)"),
            ("-", "-", "*  (ARGM-TMP*)"),
            ("bite", "bite.01", "*  (V*)"),
            ("-", "-", "*  *"),
        ]
    )
)
TREE = Sentence(
    "Dogs that bark loudly seldom bite .".split(),
    "dog that bark loudly seldom bite .".split(),
    "NNS WDT VBP RB RB VBP .".split(),
    id="answers-doc-0001",
    heads=[6, 3, 1, 3, 6, 0, 6],
    relations="nsubj nsubj acl:relcl advmod advmod root punct".split(),
)


@pytest.fixture
def save(tmp_path):
    def save(text):
        path = tmp_path / "answers" / "00" / "doc.xml.gold_skel"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return save


def test_a_skeleton_becomes_a_graph(save):
    skeletons = dict(read_skeletons(save(SKELETON + "\n"), "answers-doc"))
    assert list(skeletons) == ["answers-doc-0001"]
    graph = convert([TREE], skeletons).sentences[0]
    assert graph.arcs == [
        (2, 0, "ARG0"),
        (2, 1, "R-ARG0"),
        (2, 3, "ARGM-MNR"),
        (5, 0, "ARG0"),  # the head of the span `Dogs that bark loudly`
        (5, 4, "ARGM-TMP"),
    ]
    assert graph.predicates == [2, 5]
    assert graph.tops == [5]
    assert graph.frames == ["_", "_", "bark.01", "_", "_", "bite.01", "_"]
    assert (graph.words, graph.heads) == (TREE.words, TREE.heads)


def test_a_span_with_several_heads_gives_several_arcs():
    skeleton = Skeleton(7, [(5, "bite.01")], [[(0, 1, "ARG0"), (4, 5, "X")]])
    graph = convert([TREE], {TREE.id: skeleton}).sentences[0]
    # 1 hangs on 2, outside of the span; 5 is the root, but no word is its own argument.
    assert graph.arcs == [(5, 0, "ARG0"), (5, 1, "ARG0")]


def test_a_roleset_without_arguments_is_no_predicate():
    skeleton = Skeleton(7, [(5, "bite.01")], [[(5, 5, "V")]])
    graph = convert([TREE], {TREE.id: skeleton}).sentences[0]
    assert (graph.arcs, graph.predicates, graph.tops) == ([], [], [])
    assert graph.frames[5] == "bite.01"


def test_the_verb_is_no_argument_wherever_it_is_marked():
    skeleton = Skeleton(7, [(5, "bite.01")], [[(4, 4, "V"), (3, 3, "C-V")]])
    graph = convert([TREE], {TREE.id: skeleton}).sentences[0]
    assert graph.arcs == [(5, 3, "C-V")]


def test_sentences_that_do_not_fit_are_dropped():
    others = [replace(TREE, id="a"), replace(TREE, id="b"), TREE]
    result = convert(others, {TREE.id: Skeleton(7), "b": Skeleton(8)})
    assert [s.id for s in result.sentences] == [TREE.id]
    assert result.dropped == [("a", "no-propbank"), ("b", "token-count UD=7 PB=8")]


def test_sentences_need_trees():
    with pytest.raises(DataError, match="'answers-doc-0001' has no tree"):
        convert([replace(TREE, heads=None)], {TREE.id: Skeleton(7)})


def test_spans_may_nest_and_meet():
    cells = ["(A*", "(B*)", "*)(C*", "*)", "((D*))".replace("((", "(E(")]
    assert read_spans(cells) == [(0, 2, "A"), (1, 1, "B"), (2, 3, "C"), (4, 4, "E"), (4, 4, "D")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(V*)  *", "(V*)", r"skel:3: wanted 10 columns, found 9\."),
        ("0  3  [WORD]", "0  4  [WORD]", r"skel:4: wanted token 3 of sentence 0, found 4 of 0\."),
        ("0  3  [WORD]", "1  3  [WORD]", r"skel:4: wanted token 3 of sentence 0, found 3 of 1\."),
        ("bite.01", "-", r"skel:1: 1 tokens have a roleset, .* found 2 of them\."),
        ("*)  *)", "*)  *", r"skel:1: column 10: the span .* is never closed"),
        ("(ARG0*)  (ARG0*", "(ARG0*)  *", r"column 10: token 3 closes a span that was never op"),
    ],
)
def test_malformed_skeletons(save, old, new, message):
    text = SKELETON + "\n"
    if old == "*)  *)":
        old, new = "(ARGM-MNR*)  *)", "(ARGM-MNR*)  *"
    assert old in text
    with pytest.raises(DataError, match=message):
        list(read_skeletons(save(text.replace(old, new, 1)), "answers-doc"))


def test_sentences_are_numbered_from_zero_in_digits(save):
    with pytest.raises(DataError, match=r"skel:1: wanted a sentence number, found 'x'\."):
        list(read_skeletons(save(LINE.format("x", 0, "-", "-", "") + "\n"), "answers-doc"))


def test_ids_of_documents():
    name = "weblog/00/blogspot.com_x_ENG_2004.xml.gold_skel"
    assert document_id(name) == "weblog-blogspot.com_x_ENG_2004"


def test_folders(save, tmp_path):
    with pytest.raises(DataError, match=r"has no \*\.xml\.gold_skel below it"):
        read_folder(tmp_path)
    save(SKELETON + "\n")
    assert list(read_folder(tmp_path)) == ["answers-doc-0001"]


def test_conversion_of_the_real_development_part(data_dir):
    trees = read_conllu(data_dir / "ud_ewt" / "en_ewt-ud-dev.conllu")
    result = convert(trees, read_folder(data_dir / "propbank_ewt_dev"))
    folder = data_dir / "up_ewt"
    for write, suffix in ((write_sdp, "sdp"), (write_companion, "cpn")):
        stream = io.StringIO()
        write(stream, result.sentences)
        assert stream.getvalue().encode() == (folder / f"en_ewt-up-dev.{suffix}").read_bytes()
    dropped = "".join(f"{name}\t{why}\n" for name, why in result.dropped)
    assert dropped == (folder / "dropped-dev.txt").read_text()
