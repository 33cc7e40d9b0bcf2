"""The knowledge base as it is searched: published articles, cut into passages and indexed.

Articles are ranked by BM25, each by its best passage. Within an article the passage that has
most of what the title does not say goes first: to "how long is the warranty" that is the first
passage on warranty, not the shortest, which BM25 would take.

A passage counts as found only if it covers enough of the question:
the share of the question's idf mass (how telling each of its words is) that the passage and its
title contain; words elsewhere in the article count half. A BM25 score alone has no scale on
which "nothing fits" could be told from "this fits"; coverage has, whatever the size of the
knowledge base. A word that no article contains weighs most, so that a question about something
else finds nothing. The figures, and the bars they may not fall below, are in
tests/test_offline_backend.py.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log
from typing import NamedTuple

import bm25s
from channels.db import database_sync_to_async
from django.db.models import Count, Max, Q
from django.utils import timezone

from ai_chatbot.models import Article
from ai_chatbot.patterns import Pattern
from ai_chatbot.texts import cut
from ai_chatbot.words import hints, is_everyday, is_unspaced, phrases, plain, telling_words

# The library sets its own logger to DEBUG when imported, over what LOGGING says.
logging.getLogger("bm25s").setLevel(logging.WARNING)

# Lower, and questions that nothing answers are answered; higher, and fewer are at all.
ANSWER_THRESHOLD = 0.5
# Good enough for a model that judges for itself what it reads, not for an answer as it stands.
CONTEXT_THRESHOLD = 0.25

# Bounds on the work one question can cause, and on what is shown of a source.
QUESTION_CHARACTERS = 1000
EXCERPT_CHARACTERS = 200
# A passage that is longer is given to no backend whole.
PASSAGE_CHARACTERS = 4000

# The longest that a transaction which changes an article is expected to stay open.
SETTLING_TIME = timedelta(seconds=10)

_EMPTY_LINE = Pattern(r"\n[\t\r \pZ]*\n")


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that fits a question. `score` is its coverage of it, from 0 to 1."""

    slug: str
    language: str
    title: str
    url: str
    text: str
    score: float

    @property
    def excerpt(self) -> str:
        """The text's beginning on one line, at most EXCERPT_CHARACTERS long."""
        text = " ".join(self.text.split())
        if len(text) <= EXCERPT_CHARACTERS:
            return text
        cut = text[: EXCERPT_CHARACTERS - 1]
        whole_words, _, _ = cut.rpartition(" ")
        if len(whole_words) > EXCERPT_CHARACTERS // 2:
            cut = whole_words
        return cut.rstrip(" ,;:，；：、") + "…"


class _Entry(NamedTuple):
    article: Article
    text: str
    # Of the passage and its article's title; only of the passage; of the whole article.
    words: frozenset[str]
    own_words: frozenset[str]
    article_words: frozenset[str]


class _Shelf:
    """The passages of one language."""

    def __init__(self, language: str, articles: Iterable[Article]) -> None:
        self.language = language
        self._entries: list[_Entry] = []
        terms: list[list[str]] = []
        for article in articles:
            title = telling_words(article.title, language)
            anywhere = frozenset(title + telling_words(article.body, language))
            for text in _EMPTY_LINE.split(article.body.replace("\r\n", "\n")):
                words = telling_words(text, language)
                if words:
                    here = frozenset(title + words)
                    own = here.difference(title)
                    passage = cut(text.strip(), PASSAGE_CHARACTERS)
                    self._entries.append(_Entry(article, passage, here, own, anywhere))
                    terms.append(2 * (title + phrases(title)) + words + phrases(words))
        count = len(self._entries)
        frequency = Counter(word for entry in self._entries for word in entry.words)
        self._weights = {
            word: log(1 + (count - n + 0.5) / (n + 0.5)) for word, n in frequency.items()
        }
        self._unknown_weight = log(1 + (count + 0.5) / 0.5)
        self._bm25 = bm25s.BM25(k1=1.2, b=0.6)
        if count:
            self._bm25.index(terms, show_progress=False)

    def _weight(self, word: str) -> float:
        """How telling a word of the question is."""
        weight = self._weights.get(word)
        if is_unspaced(word):
            if weight is not None:
                return weight
            if len(word) == 2 and all(character in self._weights for character in word):
                # Most likely the end of one word and the beginning of the next.
                return self._unknown_weight / 4
            return self._unknown_weight
        if weight is None:
            weight = 0.0 if is_everyday(word) else self._unknown_weight
        # A Chinese word of two characters is three terms, "Python" among them only one.
        return 3 * weight

    def search(self, question: str, minimum: float) -> list[Passage]:
        """What covers at least `minimum` of the question, best first."""
        words = telling_words(question, self.language)
        weights = {word: self._weight(word) for word in words}
        terms = [
            term
            for term in dict.fromkeys(words + phrases(words) + hints(question, self.language))
            if self._entries and term in self._bm25.vocab_dict
        ]
        total = sum(weights.values())
        known = {word: weight for word, weight in weights.items() if word in self._weights}
        if not terms or not total:
            return []
        best: dict[str, float] = {}
        found: list[tuple[float, Passage]] = []
        for entry, bm25 in zip(self._entries, self._bm25.get_scores(terms), strict=True):
            if bm25 <= 0:
                continue
            covered = sum(
                weight if word in entry.words else weight / 2
                for word, weight in known.items()
                if word in entry.article_words
            )
            coverage = covered / total
            if coverage >= minimum:
                article = entry.article
                best[article.slug] = max(best.get(article.slug, 0.0), float(bm25) * coverage)
                passage = Passage(
                    slug=article.slug,
                    language=self.language,
                    title=article.title,
                    url=article.url,
                    text=entry.text,
                    score=round(coverage, 4),
                )
                detail = sum(w for word, w in known.items() if word in entry.own_words)
                found.append((detail, passage))
        # The sort is stable: passages that fit equally well stay in their article's order.
        found.sort(key=lambda one: (-best[one[1].slug], one[1].slug, -one[0]))
        return [passage for _, passage in found]


class KnowledgeIndex:
    """The given articles, ready to be searched; never changes once built."""

    def __init__(self, articles: Iterable[Article]) -> None:
        by_language: dict[str, list[Article]] = {}
        for article in articles:
            by_language.setdefault(article.language, []).append(article)
        self._shelves = {
            language: _Shelf(language, articles) for language, articles in by_language.items()
        }

    def search(
        self, question: str, language: str, limit: int, *, minimum: float = ANSWER_THRESHOLD
    ) -> list[Passage]:
        """The passages that fit, best first, in `language` or, if none does, in another."""
        question = plain(question, QUESTION_CHARACTERS)
        own = self._shelves.get(language)
        if own and (found := own.search(question, minimum)):
            return found[:limit]
        others = [
            found
            for shelf in self._shelves.values()
            if shelf is not own and (found := shelf.search(question, minimum))
        ]
        return max(others, key=lambda found: found[0].score)[:limit] if others else []


class _Version(NamedTuple):
    """What the articles looked like; changes whenever they do, in whatever process."""

    published: int
    newest_change: datetime | None
    # A transaction may commit after a later one whose change is newer, and would then go
    # unseen. When the newest change has settled, the version changes once more.
    settled: bool


_lock = threading.Lock()
_index = KnowledgeIndex(())
_version: _Version | None = None


def _present_version() -> _Version:
    seen = Article.objects.aggregate(
        published=Count("pk", filter=Q(published=True)), newest=Max("updated_at")
    )
    newest: datetime | None = seen["newest"]
    settled = newest is None or timezone.now() - newest > SETTLING_TIME
    return _Version(seen["published"], newest, settled)


def current_index() -> KnowledgeIndex:
    """The index of the articles as they are now, built anew only if they have changed.

    Asks the database each time: 0.6 ms a question, against answers that would be out of date
    for as long as a cached check were trusted.
    """
    global _index, _version
    version = _present_version()
    with _lock:
        if version != _version:
            _index = KnowledgeIndex(Article.objects.filter(published=True).order_by("pk"))
            _version = version
        return _index


def search(
    question: str, language: str, limit: int = 3, *, minimum: float = ANSWER_THRESHOLD
) -> list[Passage]:
    """See KnowledgeIndex.search. Reads the database; from async code use `asearch`."""
    return current_index().search(question, language, limit, minimum=minimum)


# A thread of the pool for the time of one search, its connection closed after. Not the thread
# of the request that began the reply: the reply outlives it.
asearch = database_sync_to_async(search, thread_sensitive=False)
