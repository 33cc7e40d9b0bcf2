"""When a person is fetched without a model being asked: the rules of the admin, in their order.

A rule looks at the customer's message (a request, words, frustration) or at what has happened
in the conversation (failures, answers that did not help, a VIP). What has happened counts from
the end of the last handoff on, and not while one goes on: whoever went back to the AI is not
sent to the line again for what sent them there before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from ai_chatbot import rules, turns
from ai_chatbot.conversation.records import Cause
from ai_chatbot.models import (
    GOING_ON,
    ChatSession,
    HandoffRule,
    MessageRole,
    Priority,
    Reason,
    Severity,
)
from ai_chatbot.models.handoffs import (
    RULES_AT_MOST,
    THRESHOLD_AT_MOST,
    WORD_CHARACTERS,
    WORDS_AT_MOST,
)
from ai_chatbot.patterns import TEXT_CHARACTERS, Pattern, literal
from ai_chatbot.words import is_unspaced, plain

Kind = HandoffRule.Kind

# As migration 0008 writes them. Where the admin has no rule at all, these count: what is not
# wanted is switched off there, and not deleted.
DEFAULTS = (
    HandoffRule(
        name="Asks for a person", kind=Kind.REQUEST, order=10, code="explicit_request"
    ),
    HandoffRule(
        name="Answers failed", kind=Kind.FAILURES, order=20, threshold=2, code="reply_failed",
        severity=Severity.HIGH,
    ),
    HandoffRule(
        name="Answers did not help", kind=Kind.THUMBS_DOWN, order=30, threshold=2,
        code="not_helpful",
    ),
    HandoffRule(
        name="Frustrated", kind=Kind.FRUSTRATION, order=40, code="frustration",
        severity=Severity.HIGH,
    ),
)  # fmt: skip

_FIELDS = (
    "name", "kind", "active", "language", "words", "threshold", "code", "severity", "priority",
    "skills",
)  # fmt: skip

# A letter, digit or mark beside a word makes it part of another.
_BEFORE, _AFTER = r"(?:^|[^\pL\pM\pN_])", r"(?:$|[^\pL\pM\pN_])"
_PART_OF_A_WORD = Pattern(r"[\pL\pM\pN_]")


class Facts(Protocol):
    """What rules look at. Read only by the rules that need it."""

    @property
    def text(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def vip(self) -> bool: ...
    @property
    def failures(self) -> int:
        """Turns of the AI that came to nothing, one after the other."""
        ...

    @property
    def thumbs_down(self) -> int:
        """How many of the latest answers, one after the other, did not help."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """Facts as somebody states them."""

    text: str = ""
    language: str = "en"
    vip: bool = False
    failures: int = 0
    thumbs_down: int = 0


class _OfSession:
    """Facts as the rows have them, from the end of the last handoff on."""

    def __init__(self, session: ChatSession, text: str) -> None:
        self._session = session
        self.text = text
        self.language = session.language

    @cached_property
    def _last(self) -> Any:
        return self._session.handoffs.values_list("outcome", "ended_at").first()

    @property
    def _asked_already(self) -> bool:
        return self._last is not None and self._last[0] in GOING_ON

    @property
    def vip(self) -> bool:
        # It does not happen, it is so: it counts once.
        return self._session.vip and self._last is None

    @cached_property
    def failures(self) -> int:
        if self._asked_already:
            return 0
        return turns.failures_in_a_row(self._session, self._last and self._last[1])

    @cached_property
    def thumbs_down(self) -> int:
        if self._asked_already:
            return 0
        answers = self._session.messages.filter(role=MessageRole.ASSISTANT).order_by("-pk")
        count = 0
        for helpful, at in answers.values_list("feedback__helpful", "feedback__updated_at")[
            :THRESHOLD_AT_MOST
        ]:
            if helpful is not False or (self._last is not None and at <= self._last[1]):
                break
            count += 1
        return count


class Words:
    """Words and phrases as one pattern: whole words where the script parts them, else any
    place in the text."""

    def __init__(self, words: Sequence[str]) -> None:
        # The longest first, so that the most telling one is found.
        self._words = sorted(
            (word[:WORD_CHARACTERS] for word in words[:WORDS_AT_MOST]), key=len, reverse=True
        )
        groups: dict[tuple[str, str], list[str]] = {}
        for word in self._words:
            groups.setdefault(_edges(word), []).append(literal(word))
        alternatives = (
            f"{before}(?:{'|'.join(escaped)}){after}"
            for (before, after), escaped in groups.items()
        )
        self._pattern = Pattern("|".join(alternatives)) if groups else None

    def found_in(self, text: str) -> str:
        """One that is in the text, spelled as it is compared; empty if none is."""
        text = " ".join(plain(text, TEXT_CHARACTERS).split())
        if self._pattern is None or not self._pattern.search(text):
            return ""
        found = self._pattern.findall(text)[0]
        return next((word for word in self._words if word in found), found)


def _edges(word: str) -> tuple[str, str]:
    if any(map(is_unspaced, word)):
        return "", ""
    first, last = (_PART_OF_A_WORD.search(end) for end in (word[0], word[-1]))
    return _BEFORE if first else "", _AFTER if last else ""


class Rule:
    """A row of HandoffRule as it is applied. A row that could not be saved in the admin, and
    came about in another way, is made the best of."""

    def __init__(self, row: HandoffRule) -> None:
        self.row = row
        self.kind = row.kind
        self.name = row.name
        self._words = Words(_lines(row.words)) if row.kind == Kind.KEYWORDS else None

    def is_for(self, language: str) -> bool:
        return self.row.language in ("", language)

    def fires(self, facts: Facts) -> str | None:
        """What of the facts fits, empty where the rule's name says it all; None: nothing."""
        match self.kind:
            case Kind.REQUEST:
                return _if(rules.wants_a_person(facts.text))
            case Kind.KEYWORDS:
                assert self._words is not None  # noqa: S101 - as made
                return self._words.found_in(facts.text) or None
            case Kind.FRUSTRATION:
                return _if(rules.is_frustrated(facts.text))
            case Kind.VIP:
                return _if(facts.vip)
            case Kind.FAILURES:
                return self._reached(facts.failures)
            case Kind.THUMBS_DOWN:
                return self._reached(facts.thumbs_down)
        return None

    def _reached(self, count: int) -> str | None:
        return str(count) if count >= max(1, self.row.threshold) else None

    def cause(self, what: str) -> Cause:
        row = self.row
        known = row.priority in Priority.values
        skills = row.skills if isinstance(row.skills, list) else []
        return Cause(
            Reason.REPLY_FAILED if self.kind == Kind.FAILURES else Reason.RULE,
            f"{row.name}: {what}" if what else row.name,
            code=row.code,
            severity=Severity(row.severity)
            if row.severity in Severity.values
            else Severity.MEDIUM,
            priority=Priority(row.priority) if known else Priority.NORMAL,
            skills=tuple(skill for skill in skills if isinstance(skill, str)),
            unasked=self.kind not in (Kind.REQUEST, Kind.FAILURES),
        )


def _if(true: bool) -> str | None:
    return "" if true else None


def _lines(text: str) -> list[str]:
    words = (" ".join(plain(line).split()) for line in text.splitlines())
    return [word for word in words if word]


# The rows as they were last read, and what was made of them.
_known: tuple[list[tuple[Any, ...]], list[Rule]] = ([], [])


def current() -> list[Rule]:
    """The active rules in their order. One query; patterns are made when rows have changed."""
    global _known
    read = list(HandoffRule.objects.values_list(*_FIELDS)[:RULES_AT_MOST])
    rows, made = _known
    if read != rows or not made:
        found = [HandoffRule(**dict(zip(_FIELDS, row, strict=True))) for row in read]
        made = [Rule(row) for row in (found or DEFAULTS) if row.active]
        _known = (read, made)
    return made


def decide(session: ChatSession, text: str) -> Cause | None:
    """Is a person to be fetched, now that the customer has written this? Three queries at the
    most, none of them locks. Not on the loop: it reads the database."""
    return _first(_OfSession(session, text), current())


def decide_on(session: ChatSession, kind: HandoffRule.Kind) -> Cause | None:
    """The same for what has just happened, by the rules of this kind."""
    return _first(_OfSession(session, ""), [rule for rule in current() if rule.kind == kind])


def _first(facts: Facts, of: Sequence[Rule]) -> Cause | None:
    for rule in of:
        if rule.is_for(facts.language):
            what = rule.fires(facts)
            if what is not None:
                return rule.cause(what)
    return None


@dataclass(frozen=True, slots=True)
class Trial:
    """How one rule took what was tried. `what`: as Rule.fires has it."""

    rule: Rule
    is_for_language: bool
    what: str | None
    decides: bool


def explain(facts: Facts) -> list[Trial]:
    """Every active rule, in order, and how it takes the facts; the first that fires decides."""
    trials: list[Trial] = []
    decided = False
    for rule in current():
        fits = rule.is_for(facts.language)
        what = rule.fires(facts) if fits else None
        trials.append(Trial(rule, fits, what, what is not None and not decided))
        decided = decided or what is not None
    return trials
