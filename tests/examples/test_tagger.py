"""The tagger that gives reviews parts of speech and lemmas."""

from dataclasses import replace

import pytest

from examples.data import PARTS, DataError, Sentence, load_reviews, read_conllu, write_conllu
from examples.data.fetch import tree_file
from examples.data.sst import sst_file, tagged_file
from examples.data.toy import generate
from examples.parsing import tagger as module
from examples.parsing.tagger import Lemmas, accuracy, main, rule_of, tag_sst, train_tagger

REVIEW = "(3 (2 A) (4 (3 great) (2 films)))\n(2 (2 Neutral) (2 one))\n(0 (1 Bad) (2 film))\n"


def test_sentences_are_tagged_by_heart():
    sentences = generate(0, trees=(60, 1, 1), graphs=(1, 1, 1)).trees["train"]
    tagger = train_tagger(sentences, epochs=25)
    assert min(accuracy(tagger, sentences).values()) > 0.97
    bare = [replace(s, tags=["_"] * len(s), lemmas=["_"] * len(s)) for s in sentences]
    assert [s.tags for s in tagger.tag(bare)] == [s.tags for s in tagger.tag(sentences)]
    assert tagger.tag([Sentence([], [], [])])[0].tags == []


@pytest.mark.parametrize(
    ("word", "lemma", "rule"),
    [("films", "film", (1, "")), ("ran", "run", (2, "un")), ("be", "be", (0, ""))],
)
def test_rules_change_the_end_of_a_word(word, lemma, rule):
    assert rule_of(word, lemma) == rule


def test_lemmas_of_other_words_follow_their_ends():
    known = Sentence(["cities", "Dogs"], ["city", "dog"], ["NNS", "NNS"])
    lemmas = Lemmas([known])
    assert lemmas.of("cities", "NNS") == "city"
    assert lemmas.of("Parties", "NNS") == "party"
    assert lemmas.of("hogs", "NNS") == "hog"
    assert lemmas.of("ies", "NNS") == "ies"  # nothing would be left
    assert lemmas.of("Unlike", "IN") == "unlike"


@pytest.fixture
def folder(tmp_path):
    trees = generate(0, trees=(20, 8, 1), graphs=(1, 1, 1)).trees
    for part in ("train", "dev"):
        write_conllu(tree_file(tmp_path, part), trees[part])
    for part in PARTS:
        sst_file(tmp_path, part).parent.mkdir(exist_ok=True)
        sst_file(tmp_path, part).write_text(REVIEW)
    return tmp_path


def test_reviews_are_tagged_once_and_read(folder):
    with pytest.raises(DataError, match=r"train\.conllu does not exist\. Run `python -m examples"):
        load_reviews("sst", data=folder, tagged=True)
    tag_sst(folder, epochs=1)
    plain, tagged = (load_reviews("sst", data=folder, tagged=t)["dev"] for t in (False, True))
    assert (
        [s.words for s in plain]
        == [s.words for s in tagged]
        == [
            ["A", "great", "films"],
            ["Bad", "film"],
        ]
    )
    assert [s.sentiment for s in tagged] == [1, 0]
    assert plain[0].tags == ["_"] * 3
    assert "_" not in tagged[0].tags + tagged[0].lemmas


def test_tags_of_other_sentences_are_refused(folder):
    for part in PARTS:
        write_conllu(tagged_file(folder, part), read_conllu(tree_file(folder, "dev")))
    with pytest.raises(DataError, match=r"is not of the sentences of the treebank"):
        load_reviews("sst", data=folder, tagged=True)


def test_the_command(folder, monkeypatch, capsys):
    monkeypatch.setattr(module, "tag_sst", lambda data: tag_sst(data, epochs=1))
    assert main(["sst", "--data", str(folder)]) == 0
    assert "tags" in capsys.readouterr().out
    tree_file(folder, "train").unlink()
    assert main(["sst", "--data", str(folder)]) == 2
    assert "error: " in capsys.readouterr().err
