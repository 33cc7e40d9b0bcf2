"""Texts that others wrote, made fit to be stored and shown."""

from __future__ import annotations

# An answer of the AI: at four bytes a character, and with its sources, it fits in an event.
REPLY_CHARACTERS = 8000

# So far back, in characters, the end of a sentence or of a word is near enough to cut at.
SENTENCE_NEAR, WORD_NEAR = 200, 40

_ENDS, _WIDE_ENDS = ".!?…", "。！？"
_CLOSING = "\"'”’)]」』）"


def storable(text: str) -> str:
    """The text as any database takes it and any event can carry it.

    Surrogate pairs that came in halves are joined, other halves replaced; control characters,
    each of which JSON would write as six, are dropped.
    """
    if text.isprintable():
        return text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "".join(c for c in whole if c in "\n\t" or (ord(c) >= 32 and ord(c) != 127))


def whole(text: str) -> tuple[str, str]:
    """The text without the half of a surrogate pair at its end, and that half."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return text[:-1], text[-1]
    return text, ""


def says_something(text: str) -> bool:
    """Is there anything to be seen? White space and invisible characters are nothing."""
    return any(c.isprintable() and not c.isspace() for c in text)


def reach(at_most: int) -> int:
    """How many characters before `at_most` `cut` looks for the end of a sentence."""
    return min(SENTENCE_NEAR, at_most // 2)


def cut(text: str, at_most: int) -> str:
    """The text, or its beginning up to the end of a sentence, else of a word, followed by "…".

    Never longer than `at_most` characters.
    """
    if len(text) <= at_most:
        return text
    end = _last_sentence_end(text, at_most, reach(at_most))
    if end:
        return text[:end]
    beginning = text[: at_most - 1]
    if text[at_most - 1].isalnum():
        for back in range(min(WORD_NEAR, len(beginning) // 2)):
            if beginning[-1 - back].isspace():
                beginning = beginning[: -1 - back]
                break
    return beginning.rstrip(" \n\t,;:，；：、") + "…"


def _last_sentence_end(text: str, at_most: int, near: int) -> int:
    """Where the last sentence that ends in the last `near` characters before `at_most` ends."""
    for end in range(at_most, at_most - near, -1):
        if not (text[end].isspace() or text[end - 1] in _WIDE_ENDS):
            continue
        last = text[:end].rstrip(_CLOSING)[-1:] if text[end - 1] in _CLOSING else text[end - 1]
        # A line that has only "3." so far is one of a list.
        line = text[: end - 1].rpartition("\n")[2].strip()
        if last and last in _ENDS + _WIDE_ENDS and not line.isdigit():
            return end
    return 0
