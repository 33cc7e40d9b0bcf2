"""What a customer writes is matched in linear time, by construction and not by luck."""

import ast
import re
from pathlib import Path

import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from ai_chatbot.patterns import NOT_SPACE, SPACE, TEXT_CHARACTERS, Pattern
from ai_chatbot.rules import wants_a_person, wonders_who_answers
from ai_chatbot.small_talk import gives_thanks, greets, has_enough, says_yes
from ai_chatbot.words import hints, plain, telling_words
from tests.harness.environment import ROOT

# Modules that may use Python's own patterns, and on what text.
ELSEWHERE = {
    "agent_workbench/forms.py": "languages and skills, which administrators write",
    "agent_workbench/notes.py": "mentions in notes, which agents write; linear",
    "ai_chatbot/conversation/timetable.py": "OPENING_HOURS, from the settings",
    "config/env_file.py": "the .env file, which its operator writes",
    "sse/checks.py": "the source of the project's asgi.py",
    "sse/exceptions.py": "headers, which the project writes",
    "sse/log/cursors.py": "cursors, which its one pattern can match in one way only",
    "sse/log/encoding.py": "names of events: one set of characters",
    "sse/log/frames.py": "the ends of lines, each matched in one way only",
    "sse/streams/origins.py": "origins and paths, by patterns in the project's settings",
}

# 找 and 26 × 个 took 50 s when the alternatives under the star overlapped, 40 for ever.
HOSTILE = [
    "找" + "个" * 26,
    "找" + "个" * 3900,
    "转" + "一个" * 1900,
    "不要" + "再帮我" * 1300,
    "请你好" * 1300 + "!",
    "am i " + "a" * 3900,
    "talk to " + "real live human " * 240,
    "please, " * 490,
    "我要" + "人工智能" * 990,
    "people-" * 570,
    "谢谢你们" * 990 + "?",
    "hi " * 1300 + "?",
    "\ufdfa" * 4000,
    "\u0344\u0315\u0327" * 1300,
    "\ud800" * 100,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: f"{text[:3]!a}x{len(text)}")
def test_hostile_text_is_read_to_its_end(text: str) -> None:
    for reads in (greets, gives_thanks, has_enough, says_yes, wonders_who_answers):
        reads(text)
    wants_a_person(text)
    for language in ("en", "zh-hans"):
        telling_words(text, language)
        hints(text, language)


@pytest.mark.parametrize(
    "pattern", ["a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", r"(a)\1", "(?>a)", "a*+"]
)
def test_what_needs_more_than_linear_time_is_refused(pattern: str) -> None:
    with pytest.raises(re2.error):
        Pattern(pattern)


def test_no_other_patterns_meet_what_customers_write() -> None:
    found = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for app in ("ai_chatbot", "agent_workbench", "sse", "config")
        for path in (ROOT / app).rglob("*.py")
        if path.relative_to(ROOT).as_posix() not in ELSEWHERE
        for name in _other_patterns(path)
    }
    assert found <= {"ai_chatbot/patterns.py: re2"}


def _other_patterns(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.keyword) and (node.arg or "").endswith("regex"):
            # The database's own, in a query.
            names.add(node.arg or "")
        names.update({"re", "regex", "re2", "fnmatch"}.intersection(modules))
    return names


def test_stacked_marks_are_left_out_and_spellings_are_not() -> None:
    assert plain("e\u0301 वापसी Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A") == "é वापसी z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍a"
    assert plain("a" + "\u0344\u0315\u0327" * 1300 + "b") == "ab"


def test_only_the_beginning_of_a_text_is_read() -> None:
    assert len(plain("\ufdfa" * 5000, TEXT_CHARACTERS)) == TEXT_CHARACTERS
    assert wants_a_person(" " * 100 + "talk to a human")
    assert not wants_a_person("." * TEXT_CHARACTERS + " talk to a human")


@given(st.text())
@example("a\u3000b\x1c c\x85\u2028")
def test_white_space_is_what_python_takes_for_it(text: str) -> None:
    assert Pattern(rf"{NOT_SPACE}+").findall(text) == text.split()
    assert Pattern(rf"{SPACE}+").sub("", text) == "".join(text.split())


@given(st.lists(st.sampled_from(["a", "bb", "字", "🪴", " ", "\n"])).map("".join))
def test_replacing_and_splitting_do_what_python_does(text: str) -> None:
    ours, pythons = Pattern("bb|字|🪴+"), re.compile("bb|字|🪴+")
    assert ours.sub("-", text) == pythons.sub("-", text)
    assert ours.split(text) == pythons.split(text)
    assert ours.findall(text) == pythons.findall(text)
    assert ours.search(text) == bool(pythons.search(text))
    assert ours.fullmatch(text) == bool(pythons.fullmatch(text))
