"""Answers that go round in circles are told from answers that only look like it."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ai_chatbot.demo import FOLDER
from ai_chatbot.loops import LONGEST, SHORTEST, LoopDetector

WORDS = ["the", "parcel", "is", "4.90", "euros", "on", "its", "way", "to", "Norway", "e.g."]
HAN = "您的订单已经发货预计三天内送达请耐心等待我们会通知"


def finds_loop(text: str, size: int = 0) -> bool:
    detector = LoopDetector()
    pieces = [text[at : at + size] for at in range(0, len(text), size)] if size else [text]
    return any(detector.finds_loop(piece) for piece in pieces)


english = st.lists(st.sampled_from(WORDS[:-1]), min_size=5, max_size=30).map(" ".join)
chinese = st.text(HAN, min_size=5, max_size=80)
sentences = (english | chinese).filter(lambda text: len(text) >= SHORTEST)
tails = st.text("abc de,字一\n-", min_size=SHORTEST, max_size=200).filter(
    lambda tail: len(" ".join(tail.split())) >= SHORTEST and any(map(str.isalnum, tail))
)
spaces = st.sampled_from([" ", "\n", "  ", "\n\n", " \t\n"])
cuts = st.integers(1, 40)


@given(sentence=sentences, before=sentences, space=spaces, size=cuts)
@settings(max_examples=60, deadline=None)
def test_a_sentence_twice_in_a_row_is_found(
    sentence: str, before: str, space: str, size: int
) -> None:
    assert finds_loop(f"{before}. {sentence}!{space}{sentence}!", size)


@given(tail=tails, before=st.text("xyz ", max_size=1500), space=spaces, size=cuts)
@settings(max_examples=60, deadline=None)
@example(tail="a" * SHORTEST, before="", space=" ", size=1)
@example(tail="0123456789abcdef" * (LONGEST // 16), before="", space=" ", size=7)
@example(tail="x----------------------", before="xyz", space="\n", size=3)
def test_a_tail_three_times_is_found(tail: str, before: str, space: str, size: int) -> None:
    assert finds_loop(before + space.join([tail] * 3), size)
    assert finds_loop(before + tail.strip() * 3, size)


@pytest.mark.parametrize(
    "text",
    [
        "我可以帮您查询订单的最新配送状态。" * 2,
        "我可以帮您查询订单的最新状态，好的" * 3,
        "“I can help you with that order.” “I can help you with that order.”",
        "Please wait for a moment... Please wait for a moment...",
        "word " * 20,
        "| Norway | Delivery takes a week |\n" * 6,
    ],
)
def test_loops_as_models_write_them(text: str) -> None:
    assert finds_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Yes. Yes. Yes. Thank you! Thank you!",
        "ha ha ha ha ha",
        "Standard\n" + "-" * 80 + "\nExpress\n" + "=" * 80 + "\n" + "* " * 40 + "_" * 200,
        "| Plan | Small | Large | Huge |\n|" + 4 * "--------------------|" + "\n"
        "| Warranty | three years of warranty | three years of warranty | three years |\n"
        "| Delivery | Takes two working days. | Takes two working days. | next day |\n"
        "| Returns | within thirty days | within thirty days | within thirty days |",
        "1. Press the red button.\n2. Press the red button.\n3. Press the blue button.",
        "- Monday: 9:00 to 18:00\n- Tuesday: 9:00 to 18:00\n- Wednesday: 9:00 to 18:00",
        "It costs 4.90 euros to Norway. It costs 5.90 euros to Iceland.",
        "I can help you with that order. I can help you with that parcel.",
        "周一：上午九点到下午六点。周二：上午九点到下午六点。周三：上午九点到下午六点。",
        "谢谢您！谢谢您！谢谢您！",
        " \n" * 500,
    ],
)
def test_what_only_looks_like_a_loop_is_none(text: str) -> None:
    assert not finds_loop(text)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_no_help_page_is_a_loop(language: str) -> None:
    for row in json.loads((FOLDER / f"articles.{language}.json").read_text(encoding="utf-8")):
        assert not finds_loop(row["body"]), row["slug"]


@given(st.lists(st.sampled_from(WORDS), max_size=120), cuts)
@settings(max_examples=60, deadline=None)
def test_words_without_repetition_are_no_loop(words: list[str], size: int) -> None:
    text = " ".join(f"{word} {number}," for number, word in enumerate(words))
    assert not finds_loop(text, size)


@given(st.text("ab .\n|-。字", max_size=400), cuts, cuts)
@settings(max_examples=100, deadline=None)
def test_cuts_make_no_difference(text: str, size: int, other: int) -> None:
    assert finds_loop(text, size) == finds_loop(text, other) == finds_loop(text)
