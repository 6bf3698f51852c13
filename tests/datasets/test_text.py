"""Text as numbers: the King James Bible as it is, words by frequency, splits by book, and bad input."""

import json
import sys
import unicodedata
from collections import Counter

import pytest
import torch

from mobius_lib.datasets import data_dir
from mobius_lib.datasets.text import (
    OUTSIDE,
    book_groups,
    books,
    digest,
    encode,
    king_james,
    split_words,
    text_file,
    words,
)
from mobius_lib.errors import DataError

VERSES = 31_102


def test_the_whole_text():
    lines = king_james().split("\n")
    assert len(lines) == VERSES
    assert lines[0] == "In the beginning God created the heaven and the earth."
    assert lines[1].startswith("And the earth was without form, and void; and darkness was upon the face of the deep.")
    assert lines[-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    assert "Jesus wept." in lines
    assert not set("[]<>0123456789¶") & set(king_james())
    assert all(line and line == line.strip() for line in lines)


def test_books_and_their_groups():
    texts = books()
    names = list(texts)
    assert len(names) == 66 and names[0] == "Genesis" and names[-1] == "Revelation"
    assert "\n".join(texts.values()) == king_james()
    assert [text.count("\n") + 1 for text in (texts["Genesis"], texts["Psalms"], texts["Jude"])] == [1533, 2461, 25]
    groups = book_groups()
    assert [name for group in groups.values() for name in group] == names
    assert groups["gospels and acts"] == ("Matthew", "Mark", "Luke", "John", "Acts")
    assert groups["law"][-1] == "Deuteronomy" and groups["letters"][0] == "Romans"
    with pytest.raises(TypeError):
        texts["Genesis"] = ""


def test_words_of_the_whole_text():
    ids, vocabulary = words(king_james())
    assert (len(ids), len(vocabulary)) == (789_684, 12_756)
    assert ids.dtype == torch.int64 and ids.min() == 0 and ids.max() == 12_755
    assert vocabulary[:5] == ["the", "and", "of", "to", "that"]
    assert (torch.bincount(ids).diff() <= 0).all()


def test_it_is_the_text_that_the_records_were_made_from():
    paths = sorted((data_dir() / "results").glob("*.*.json"))
    data = [json.loads(path.read_text("utf-8"))["data"] for path in paths]
    made_from = [found for found in data if found.keys() & digest()]
    assert len(made_from) > 3 and all(found.items() >= digest().items() for found in made_from)


TEXT = "The king’s beth-el -- don't! The end, THE 3rd end_of x2. Ænon"


def test_what_a_word_is():
    expected = ["the", "king’s", "beth-el", "don't", "the", "end", "the", "rd", "end", "of", "x", "ænon"]
    assert split_words(TEXT) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("naïve Ænon", ["naïve", "ænon"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("İstanbul, Şişli", ["i̇stanbul", "şişli"]),
        ("שָׁלוֹם צה״ל", ["שָׁלוֹם", "צה״ל"]),
        ("مُحَمَّد", ["مُحَمَّد"]),
        ("می‌خواهم", ["می‌خواهم"]),  # Persian, with a joiner of no width
        ("co\u00adoperate beth‑el col·lecció", ["cooperate", "beth‑el", "col·lecció"]),
        ("x² ½ ◌́ 3́", ["x"]),  # a mark without its letter is no word
    ],
)
def test_a_letter_keeps_its_marks(content, expected):
    for form in ("NFC", "NFD"):
        found = split_words(unicodedata.normalize(form, content))
        assert found == [unicodedata.normalize("NFC", word) for word in expected]


def test_every_letter_is_a_word_in_whatever_form_it_is_written():
    letters = [chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)).startswith("L")]
    found = split_words(" ".join(letters))
    assert len(found) == len(letters) > 100_000
    assert split_words(unicodedata.normalize("NFD", " ".join(letters))) == found


def test_words_are_numbered_by_frequency_then_by_the_alphabet():
    ids, vocabulary = words(TEXT)
    counts = Counter(split_words(TEXT))
    assert vocabulary[:2] == ["the", "end"] and vocabulary[2:] == sorted(vocabulary[2:])
    assert [vocabulary[i] for i in ids] == split_words(TEXT)
    assert torch.bincount(ids).tolist() == [counts[word] for word in vocabulary]


def test_a_small_vocabulary_marks_the_others():
    ids, vocabulary = words(TEXT, 2)
    assert vocabulary == ["the", "end"]
    assert ids.tolist() == [0, OUTSIDE, OUTSIDE, OUTSIDE, 0, 1, 0, OUTSIDE, 1, OUTSIDE, OUTSIDE, OUTSIDE]
    assert encode("end of the world", vocabulary).tolist() == [1, OUTSIDE, 0, OUTSIDE]
    assert torch.equal(encode(TEXT, vocabulary), ids)
    assert encode("…", vocabulary).shape == (0,)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffBlühe, deutsches Vaterland".encode())
    assert text_file(path) == text_file(str(path)) == "Blühe, deutsches Vaterland"
    for content, sentence in (
        (b"Bl\xfche", "is not UTF-8 .byte 2.; save it as UTF-8 first"),
        (b"", "holds no word"),
        (b"12 34 --", "holds no word"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=sentence):
            text_file(path)
    for wrong in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(DataError, match="There is no text file"):
            text_file(wrong)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: words(""), "text holds no word"),
        (lambda: words("1 2 …"), "text holds no word"),
        (lambda: words("a b", 0), "size must be at least 1 word, not 0"),
        (lambda: encode("a", []), "vocabulary must hold at least one word"),
        (lambda: encode("a", ["a", "a"]), "none twice"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(DataError, match=sentence):
        call()
