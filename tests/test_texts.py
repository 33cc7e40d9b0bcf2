"""Texts are cut where a reader would, and hold nothing that cannot be stored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_chatbot.texts import cut, says_something, storable, whole

anything = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "at_most", "shown"),
    [
        ("One. Two three.", 15, "One. Two three."),
        ("One two. Three four.", 12, "One two."),
        ("“One two.” Three four.", 14, "“One two.”"),
        ("一二三四。五六七八。九十", 11, "一二三四。五六七八。"),
        ("It costs 4.90 euros, and that", 20, "It costs 4.90 euros…"),
        ("What to do:\n1. Press the button", 15, "What to do:\n1.…"),
        ("one two three four", 12, "one two…"),
        ("one two three four", 14, "one two three…"),
        ("abcdefgh", 5, "abcd…"),
        ("a" * 10, 1, "…"),
    ],
)
def test_cut_at_a_sentence_or_a_word(text: str, at_most: int, shown: str) -> None:
    assert cut(text, at_most) == shown


@given(anything, st.integers(1, 50))
def test_cut_is_never_longer(text: str, at_most: int) -> None:
    assert len(cut(text, at_most)) <= at_most


@given(anything)
def test_what_is_storable_weighs_at_most_four_bytes_a_character(text: str) -> None:
    clean = storable(text)
    assert "\x00" not in clean
    encoded = json.dumps(clean, ensure_ascii=False).encode()
    assert len(encoded) <= 4 * len(clean) + 2
    assert storable(clean) == clean


@given(anything, st.integers(0, 9))
def test_storable_keeps_what_people_write(text: str, at: int) -> None:
    text = "".join(c for c in text if c.isprintable()) + "\n\t 🪴"
    assert storable(text) == text


def test_halves_of_a_character_are_joined() -> None:
    text, half = whole("a\ud83e")
    assert (text, half) == ("a", "\ud83e")
    assert storable(half + "\udeb4") == "🪴"
    assert storable("\udeb4\ud83e") == "\ufffd\ufffd"


def test_white_space_and_invisible_characters_say_nothing() -> None:
    assert not says_something(" \n\t\u3000\u200b\ufeff\x00")
    assert says_something(" 👍 ")
