"""What one text has and another lacks, in pieces that make up the text again."""

from tunesmith.services.text_difference import MOST_WORDS, pieces


def test_what_the_other_lacks_is_told():
    found = pieces("1+2=3, so 4", "1+2=3, so 5")
    assert "".join(text for text, _ in found) == "1+2=3, so 4"
    assert [text for text, new in found if new] == ["4"]


def test_equal_empty_and_very_long_texts():
    assert pieces("same words", "same words") == [("same words", False)]
    assert pieces("", "x") == []
    assert pieces("x", "") == [("x", True)]
    long = "word " * MOST_WORDS
    assert pieces(long, "other") == [(long, False)]
