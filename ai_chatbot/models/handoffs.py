"""Why people were asked for: the records of handoffs, and the rules that ask by themselves."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ai_chatbot.models.sessions import ChatSession, Priority
from ai_chatbot.words import plain

# What is looked through at every message is bounded.
RULES_AT_MOST = 100
WORDS_AT_MOST = 200
WORD_CHARACTERS = 60
THRESHOLD_AT_MOST = 20


class Severity(models.TextChoices):
    LOW = "low", _("Low")
    MEDIUM = "medium", _("Medium")
    HIGH = "high", _("High")


class Outcome(models.TextChoices):
    """How a handoff stands, or how it ended."""

    WAITING = "waiting", _("Waiting")
    BY_EMAIL = "by_email", _("By email")
    LIVE = "live", _("With an agent")
    CANCELLED = "cancelled", _("Cancelled by the customer")
    CUSTOMER_GONE = "customer_gone", _("The customer left")
    AGENT_LOST = "agent_lost", _("The agent was lost")
    AGENT_SILENT = "agent_silent", _("The agent was silent")
    REQUEUED = "requeued", _("Put back in line")
    TRANSFERRED = "transferred", _("Given to another agent")
    RELEASED = "released", _("Given back to the AI")
    CLOSED = "closed", _("Closed")


GOING_ON = (Outcome.WAITING, Outcome.BY_EMAIL, Outcome.LIVE)


class HandoffRecord(models.Model):
    """One handoff, from the wish for a person to its end. For agents, never for the customer.

    One of a session goes on at most: it waits (in line or by email), or an agent has it.
    """

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="handoffs")
    # A code of ai_chatbot.models.Reason, or the code of the rule that asked.
    code = models.CharField(_("reason"), max_length=50)
    text = models.CharField(_("text"), max_length=500, blank=True)
    severity = models.CharField(
        _("severity"), max_length=10, choices=Severity, default=Severity.MEDIUM
    )
    summary = models.TextField(_("summary"), blank=True)
    question = models.TextField(_("question"), blank=True)
    tried = models.JSONField(_("sources tried"), default=list, blank=True)
    created_at = models.DateTimeField(_("asked at"))
    taken_at = models.DateTimeField(_("taken over at"), null=True, blank=True)
    waited_seconds = models.PositiveIntegerField(_("waited"), null=True, blank=True)
    agent = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("agent"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    agent_name = models.CharField(_("agent's name"), max_length=150, blank=True)
    outcome = models.CharField(
        _("outcome"), max_length=20, choices=Outcome, default=Outcome.WAITING
    )
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        verbose_name = _("handoff")
        verbose_name_plural = _("handoffs")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["session", "-id"], name="handoff_of_session"),
            models.Index(fields=["-ended_at"], name="handoff_ended"),
            models.Index(fields=["-taken_at"], name="handoff_taken"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["session"],
                condition=Q(outcome__in=["waiting", "by_email", "live"]),
                name="handoff_one_going_on",
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=Outcome.values), name="handoff_outcome_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} #{self.pk}"


class HandoffRule(models.Model):
    """When to fetch a person without being asked by the model. Edited in the admin."""

    class Kind(models.TextChoices):
        REQUEST = "request", _("The customer asks for a person")
        KEYWORDS = "keywords", _("A word or phrase")
        VIP = "vip", _("The customer is a VIP")
        FAILURES = "failures", _("Answers failed, one after the other")
        THUMBS_DOWN = "thumbs_down", _("Answers were not helpful")
        FRUSTRATION = "frustration", _("The customer is frustrated")

    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("when"), max_length=20, choices=Kind)
    active = models.BooleanField(_("active"), default=True)
    order = models.PositiveSmallIntegerField(_("order"), default=100)
    language = models.CharField(
        _("language"),
        max_length=16,
        blank=True,
        help_text=_("Only in conversations in this language; empty: in all."),
    )
    words = models.TextField(
        _("words"), blank=True, help_text=_("For words and phrases: one a line.")
    )
    threshold = models.PositiveSmallIntegerField(
        _("so many"), default=2, help_text=_("For failures and answers that did not help.")
    )
    code = models.SlugField(_("reason code"), max_length=50)
    severity = models.CharField(
        _("severity"), max_length=10, choices=Severity, default=Severity.MEDIUM
    )
    priority = models.PositiveSmallIntegerField(
        _("priority"), choices=Priority, default=Priority.NORMAL
    )
    skills = models.JSONField(_("needs an agent with"), default=list, blank=True)

    class Meta:
        verbose_name = _("handoff rule")
        verbose_name_plural = _("handoff rules")
        ordering = ["order", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(threshold__gte=1), name="rule_threshold_positive"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        errors: dict[str, Any] = {}
        if self.kind == self.Kind.KEYWORDS:
            try:
                words_of(self.words)
            except ValidationError as error:
                errors["words"] = error
        if self.threshold is not None and not 1 <= self.threshold <= THRESHOLD_AT_MOST:
            errors["threshold"] = ValidationError(
                _("From 1 to %(most)d."), params={"most": THRESHOLD_AT_MOST}
            )
        if errors:
            raise ValidationError(errors)
        if self._state.adding and HandoffRule.objects.count() >= RULES_AT_MOST:
            raise ValidationError(
                _("There are %(most)d rules already, which is the most."),
                params={"most": RULES_AT_MOST},
            )


def words_of(text: str) -> tuple[str, ...]:
    """The words and phrases of a rule, one a line, spelled as texts are compared, each once.

    Raises ValidationError for none, too many or too long ones.
    """
    lines = (" ".join(plain(line).split()) for line in text.splitlines())
    words = tuple(dict.fromkeys(filter(None, lines)))
    if not words:
        raise ValidationError(_("Name at least one word or phrase, one per line."))
    if len(words) > WORDS_AT_MOST:
        raise ValidationError(
            _("%(count)d words and phrases are too many; at most %(most)d are allowed."),
            params={"count": len(words), "most": WORDS_AT_MOST},
        )
    too_long = next((word for word in words if len(word) > WORD_CHARACTERS), None)
    if too_long is not None:
        raise ValidationError(
            _("“%(word)s…” is too long; a word or phrase has %(most)d characters at most."),
            params={"word": too_long[:20], "most": WORD_CHARACTERS},
        )
    return words
