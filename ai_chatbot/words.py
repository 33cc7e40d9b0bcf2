"""Text as the knowledge base compares it: the telling words of a question or a passage.

Scripts with spaces are cut into words; scripts without (Chinese, Japanese, Thai…) into single
characters and pairs of neighbours: pairs alone answered 68 % of a first set of Chinese
questions, both together 92 %. Nothing is downloaded: stop words, endings and synonyms
are the short lists below, and a language that has none is compared word by word.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Literal

from ai_chatbot.patterns import Pattern

# Thai and Lao, Burmese, Khmer, kana, Han (three blocks), Hangul: written without spaces, or, as
# Korean, with endings glued to the words.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that say nothing of a question's subject. Contractions come apart at the apostrophe.
_ENGLISH_STOP_WORDS = _words(
    """
    a about after again already also am an and any anything are aren as ask at be because
    been before being but by can cannot come could couldn d dear details did didn do does
    doesn doing don done during even ever everything find for from get give go got had hadn
    has hasn have haven having he hello help her here hey hi him his how i id if im in info
    information into is isn it its ive just know let like ll long look m make many may me
    might mine much must my myself need no nor not now of off often ok okay on one or our
    ours out over please policy possible problem put question re really receive s say see
    send shall she should shouldn so some somebody someone something still t take tell than
    thank thanks that the their theirs them then there these they thing this those to today
    too try two until up us use ve very want was wasn way we were weren what when where
    which while who whom whose why will wish with won would wouldn yet you your yours
    """
)

# Everyday words. Where no article has one, it is the customer's way of talking, not a subject
# that the knowledge base knows nothing about.
_ENGLISH_EVERYDAY_WORDS = _words(
    """
    able above accept across actual actually add ago agree all allow almost alone along
    although always among amount another answer anybody anymore anyone anyway anywhere
    appear area around available away bad base basic become becoming beforehand begin behind
    believe below best better big bit both bring brought call came care careful case cause
    certain certainly check choose clear clearly close common complete completely consider
    contain continue correct course current currently day deal decide depend describe
    different difficult direct directly early easily easy either else end enough entire
    especially exact exactly example expect explain fact fair far fast feel felt few final
    finally fine first fit fix follow forever former forward full fully further general
    generally gone good great guess guy hand happen happy hard hear heard high hold home
    hope hour however idea imagine important include instead interested keep kept kind knew
    large last late later lead least leave left less likely line little live located
    location lot low main maybe mean meant mention mind minute miss mistake money month more
    morning most mostly move name near nearly necessary never new next nice night nobody
    none normal normally nothing notice number obviously offer old online only open option
    other otherwise outside own part particular pass past people per perfect perhaps person
    place plan pleas point possibly prefer present probably properly provide quick quickly
    quite rather reach read ready real realise realize reason recent recently regard
    regarding remember right round run said same save saw second seem seen set several short
    show side simple simply since single sir situation size slow small solve soon sort sound
    speak special specific start state stay step stop stuff such suddenly suggest suppose
    sure surely talk term therefore think thought three time together told tomorrow tonight
    total toward tried true truth turn type under understand unfortunately unless upon usual
    usually various visit wait week well went whatever whether whole wide without wonder
    work worry wrong year yesterday
    """
)

# What customers and help pages call by different names; the first of a line stands for all.
_ENGLISH_SYNONYMS = {
    word: line.split()[0]
    for line in (
        "parcel package packages packet packets shipment shipments",
        "deliver delivery deliveries ship ships shipped shipping",
        "die dies died dead dying",
        "break breaks broke broken breakage damage damaged defective faulty",
        "pay pays paid payment payments",
        "buy buys bought purchase purchases purchased",
        "lose loses lost",
        "phone telephone",
        "email mail emails mails",
        "item items product products article articles goods",
        "instalment instalments installment installments",
        "voucher vouchers coupon coupons",
        "cost costs price prices fee fees",
        "shop store",
    )
    for word in line.split()
}

_CHINESE_STOP_PHRASES = _words(
    """
    请问 请教 想问 麻烦 告诉 帮我 帮忙 了解 知道 谢谢 你好 您好 怎么办 怎么样 怎么 怎样 如何
    咋 什么时候 什么样 什么 啥 是否 是不是 可不可以 能不能 可以 应该 必须 需要 有没有 为什么
    为何 多少 多久 多长时间 几天 几个 哪些 哪里 哪个 一下 一个 一直 有些 这个 那个 这样 那样
    东西 自己 如果 或者 以及 还是 还有 还没 没有 已经 但是 因为 所以 时候 里面 今天 明天
    昨天 现在 喜欢 的话 处理 解决 问题 情况 我想 我要 你们 您们 我们 他们 的 了 吗 么 呢 啊
    吧 呀 呗 嘛 哦 嗯 我 你 您 他 她 它 们 是 在 和 与 及 从 对 到 也 就 都 还 请 把 被 给
    能 会 要 想 有 没 不 用 好 这 那 个 里 时 来 去
    """
)
_CHINESE_STOP = Pattern("|".join(sorted(_CHINESE_STOP_PHRASES, key=len, reverse=True)))
# What a question asks for without naming it.
_HINTS = (
    (Pattern(r"\bhow (long|soon|fast|many days)\b|\bwhen\b"), "time", "en"),
    (Pattern(r"\bhow much\b|\bexpensive\b"), "cost", "en"),
    (Pattern("多久|多长时间|什么时候|几天"), "时间", "zh"),
    (Pattern("多少钱|贵"), "费", "zh"),
)
# No script stacks so many (Unicode's stream-safe bound), and putting them in their order takes
# the square of their number.
_MARKS = Pattern(r"\pM{31,}")
_VOWELS = frozenset("aeiouy")


def plain(text: str, at_most: int | None = None) -> str:
    """One spelling for what reads the same: full-width forms, capitals, curly apostrophes.

    `at_most` so many characters of the text are looked at and come back: one character may
    become eighteen.
    """
    text = text[:at_most]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _MARKS.sub("", text))[:at_most]
    return text.casefold().replace("’", "'")[:at_most]


def telling_words(text: str, language: str) -> list[str]:
    """The text's words in their order, without stop words, each reduced to its stem."""
    text = plain(text)
    english = language.startswith("en")
    if language.startswith("zh"):
        text = _CHINESE_STOP.sub(" ", text)
    words: list[str] = []
    for kind, characters in groupby(text, _kind):
        run = "".join(characters)
        if kind == "unspaced":
            words.extend(run)
            words.extend(a + b for a, b in pairwise(run))
        elif kind == "word":
            if not english:
                words.append(run)
            elif run not in _ENGLISH_STOP_WORDS:
                stem = _english_stem(_ENGLISH_SYNONYMS.get(run, run))
                if stem not in _ENGLISH_STOP_STEMS:
                    words.append(stem)
    return words


def is_unspaced(word: str) -> bool:
    return _kind(word[0]) == "unspaced"


def is_everyday(word: str) -> bool:
    """For a stem that telling_words made of an English text."""
    return word in _ENGLISH_EVERYDAY_STEMS


def hints(question: str, language: str) -> list[str]:
    """Words that a fitting passage is likely to contain though the question does not."""
    question = plain(question)
    return [
        word
        for asks, hint, of_language in _HINTS
        if language.startswith(of_language) and asks.search(question)
        for word in telling_words(hint, language)
    ]


def phrases(words: list[str]) -> list[str]:
    """Neighbouring words as one: "phone number" tells more than "phone" and "number"."""
    return [f"{a} {b}" for a, b in pairwise(words)]


@lru_cache(maxsize=8192)
def _kind(character: str) -> Literal["word", "unspaced", ""]:
    code = ord(character)
    if any(first <= code <= last for first, last in _UNSPACED):
        # Their punctuation lies among their letters.
        return "unspaced" if unicodedata.category(character)[0] in "LNM" else ""
    # Marks belong to words: Hindi's vowel signs, for one, are not \w.
    return "word" if unicodedata.category(character)[0] in "LNM" else ""


@lru_cache(maxsize=8192)
def _english_stem(word: str) -> str:
    """Cuts the endings that customers and help pages vary; need not leave a real word."""
    if len(word) < 4 or not (word.isascii() and word.isalpha()):
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and not _VOWELS.isdisjoint(rest):
            word = rest
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "sz":
                word = word[:-1]
            break
    for ending, shortest_rest in (
        ("ation", 3),
        ("ment", 3),
        ("able", 3),
        ("ible", 3),
        ("er", 5),
    ):
        if len(word) - len(ending) >= shortest_rest:
            word = word.removesuffix(ending)
    if len(word) > 3 and word[-1] in "ey":
        word = word[:-1]
    if len(word) > 3 and word.endswith("ll"):
        word = word[:-1]
    return word


_ENGLISH_STOP_STEMS = frozenset(map(_english_stem, _ENGLISH_STOP_WORDS))
_ENGLISH_EVERYDAY_STEMS = frozenset(map(_english_stem, _ENGLISH_EVERYDAY_WORDS))
