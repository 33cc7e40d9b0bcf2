"""Sessions and what is said in them."""

from __future__ import annotations

import secrets
from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ai_chatbot.metadata import MetadataField

MESSAGE_MAX_CHARACTERS = 4000


def new_session_name() -> str:
    """A name nobody can guess; the prefix keeps it apart from other targets of events."""
    return f"cs_{secrets.token_urlsafe(16)}"


class Status(models.TextChoices):
    BOT_ACTIVE = "bot_active", _("With the AI")
    PENDING_MANUAL = "pending_manual", _("Waiting for a person")
    MANUAL_LIVE = "manual_live", _("With an agent")
    AFTER_HOURS_EMAIL = "after_hours_email", _("After hours, by email")
    CLOSED = "closed", _("Closed")


# The one table of what may follow what; verbs check it under the session's row lock.
TRANSITIONS: dict[str, frozenset[str]] = {
    Status.BOT_ACTIVE: frozenset(
        {Status.PENDING_MANUAL, Status.MANUAL_LIVE, Status.AFTER_HOURS_EMAIL, Status.CLOSED}
    ),
    Status.PENDING_MANUAL: frozenset(
        {Status.MANUAL_LIVE, Status.BOT_ACTIVE, Status.AFTER_HOURS_EMAIL, Status.CLOSED}
    ),
    # Live again: the owner changes.
    Status.MANUAL_LIVE: frozenset(
        {Status.BOT_ACTIVE, Status.PENDING_MANUAL, Status.MANUAL_LIVE, Status.CLOSED}
    ),
    Status.AFTER_HOURS_EMAIL: frozenset(
        {Status.MANUAL_LIVE, Status.PENDING_MANUAL, Status.BOT_ACTIVE, Status.CLOSED}
    ),
    Status.CLOSED: frozenset({Status.BOT_ACTIVE}),
}


class Reason(StrEnum):
    """Why a status changed, as customers may know it. Texts about it are for agents only."""

    REQUESTED = "requested"  # by a button or a call
    RULE = "rule"  # recognised in code
    AI = "ai"
    REPLY_FAILED = "reply_failed"
    NOBODY_ON_DUTY = "nobody_on_duty"
    STAFF_BACK = "staff_back"
    CANCELLED = "cancelled"
    TAKEN_OVER = "taken_over"
    ASSIGNED = "assigned"
    TRANSFERRED = "transferred"
    REQUEUED = "requeued"
    AGENT_LOST = "agent_lost"
    AGENT_SILENT = "agent_silent"
    CUSTOMER_GONE = "customer_gone"
    CUSTOMER_BACK = "customer_back"
    RELEASED = "released"
    CLOSED_BY_CUSTOMER = "closed_by_customer"
    CLOSED_BY_AGENT = "closed_by_agent"
    IDLE = "idle"
    REOPENED = "reopened"


class Priority(models.IntegerChoices):
    LOW = 1, _("Low")
    NORMAL = 2, _("Normal")
    HIGH = 3, _("High")
    URGENT = 4, _("Urgent")

    @property
    def code(self) -> str:
        """As the API has it."""
        return self.name.lower()


# Who comes next in the line: by priority, then who had been served already and was lost, then
# who is known to be important, then who asked first.
LINE_ORDER = ("-priority", "-ahead", "-vip", "escalated_at", "pk")


class ChatSessionQuerySet(models.QuerySet["ChatSession"]):
    def pending(self) -> ChatSessionQuerySet:
        """The line, in its order."""
        return self.filter(status=Status.PENDING_MANUAL).order_by(*LINE_ORDER)

    def by_email(self) -> ChatSessionQuerySet:
        """Those to be answered by email, as they are worked off: first who has no answer yet,
        for longest."""
        rows = self.filter(status=Status.AFTER_HOURS_EMAIL)
        return rows.order_by(models.F("unanswered_since").asc(nulls_last=True), "pk")

    def open(self) -> ChatSessionQuerySet:
        return self.exclude(status=Status.CLOSED)


class ChatSession(models.Model):
    """One customer's conversation.

    Who may speak in it is `status` together with `ownership_epoch`: every change of hands adds
    one to the epoch, so that work begun under an older owner can be told from the present.
    """

    name = models.CharField(_("name"), max_length=64, unique=True, default=new_session_name)
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    nickname = models.CharField(_("nickname"), max_length=100, blank=True)
    email = models.EmailField(_("email"), blank=True)
    language = models.CharField(_("language"), max_length=16, default="en")
    metadata = MetadataField(_("metadata"), default=dict, blank=True)
    # A keyed digest of the address it was begun from, to count places in the queue by.
    origin = models.CharField(
        max_length=32, blank=True, default="", db_default="", editable=False
    )

    status = models.CharField(
        _("status"), max_length=20, choices=Status, default=Status.BOT_ACTIVE
    )
    ownership_epoch = models.PositiveIntegerField(_("ownership epoch"), default=0)
    agent = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("agent"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="chat_sessions",
        help_text=_("Who talks with the customer now, or who closed the conversation."),
    )
    agent_name = models.CharField(_("agent's name"), max_length=150, blank=True)

    escalated_at = models.DateTimeField(_("asked for a person at"), null=True, blank=True)
    escalation_reason = models.CharField(_("reason"), max_length=500, blank=True)
    priority = models.PositiveSmallIntegerField(
        _("priority"), choices=Priority, default=Priority.NORMAL, db_default=Priority.NORMAL
    )
    vip = models.BooleanField(_("VIP"), default=False, db_default=False)
    ahead = models.BooleanField(
        _("ahead of others"),
        default=False,
        db_default=False,
        help_text=_("Had been taken over and was lost: first within its priority."),
    )
    skills = models.JSONField(
        _("needs an agent with"),
        default=list,
        blank=True,
        db_default=models.Value([], models.JSONField()),
    )
    former_agent = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("agent before"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    # Asked for a person, left the line by going away, and has this place if back in time.
    left_line_at = models.DateTimeField(null=True, blank=True, editable=False)
    queue_position = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="The last position announced."
    )
    told_wait = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="The longest wait announced, seconds."
    )
    taken_at = models.DateTimeField(_("last taken over at"), null=True, blank=True)
    waited_seconds = models.PositiveIntegerField(
        _("waited"), null=True, blank=True, help_text=_("Seconds in the queue, the last time.")
    )
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)

    contact_email = models.EmailField(
        _("contact address"), blank=True, default="", db_default=""
    )
    contact_note = models.TextField(_("contact note"), blank=True, default="", db_default="")
    contact_left_at = models.DateTimeField(_("contact left at"), null=True, blank=True)

    # What the customer said that no person has answered, since when.
    unanswered_since = models.DateTimeField(_("unanswered since"), null=True, blank=True)
    # How far the agent's silence has been brought up: 1 the agent's notice, 2 the supervisors'.
    silence_noticed = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    # No stream of the customer since then, as agents have been told; None: the page is open.
    customer_gone_at = models.DateTimeField(null=True, blank=True, editable=False)
    customer_seen_at = models.DateTimeField(_("customer last seen"), null=True, blank=True)
    followed_up_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What the customer has been told last: whether anybody is on duty, else when.
    told_on_duty = models.BooleanField(null=True, blank=True, editable=False)
    told_back_at = models.DateTimeField(null=True, blank=True, editable=False)

    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)
    last_message_at = models.DateTimeField(_("last message at"), null=True, blank=True)

    objects = ChatSessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("chat session")
        verbose_name_plural = _("chat sessions")
        ordering = ["-created_at"]
        permissions = [
            ("supervise_sessions", _("Can release and close everybody's conversations")),
        ]
        indexes = [
            models.Index(fields=["status", "escalated_at"], name="session_queue"),
            models.Index(
                models.F("status"),
                models.F("priority").desc(),
                models.F("ahead").desc(),
                models.F("vip").desc(),
                models.F("escalated_at"),
                models.F("id"),
                name="session_line",
            ),
            models.Index(fields=["agent", "status"], name="session_agent"),
            models.Index(fields=["-created_at", "-id"], name="session_newest"),
            models.Index(fields=["-taken_at"], name="session_taken"),
            models.Index(fields=["status", "last_message_at"], name="session_idle"),
            models.Index(
                fields=["customer_seen_at"],
                condition=Q(customer_gone_at__isnull=True, customer_seen_at__isnull=False),
                name="session_customer_here",
            ),
            models.Index(
                fields=["left_line_at"],
                condition=Q(left_line_at__isnull=False),
                name="session_left_line",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="session_status_known"
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.MANUAL_LIVE) | Q(agent__isnull=False),
                name="session_live_has_agent",
            ),
            models.CheckConstraint(
                condition=Q(status__in=[Status.MANUAL_LIVE, Status.CLOSED])
                | Q(agent__isnull=True),
                name="session_agent_only_live_or_closed",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.PENDING_MANUAL) | Q(escalated_at__isnull=False),
                name="session_pending_since",
            ),
            models.CheckConstraint(
                condition=Q(priority__in=Priority.values), name="session_priority_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def may_become(self, status: str) -> bool:
        return status in TRANSITIONS[self.status]


class SessionToken(models.Model):
    """A token given later than the session's first: for a link out of a mail."""

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="tokens")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("session token")
        verbose_name_plural = _("session tokens")
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"#{self.pk}"


class MessageRole(models.TextChoices):
    USER = "user", _("Customer")
    ASSISTANT = "assistant", _("AI")
    AGENT = "agent", _("Agent")
    SYSTEM = "system", _("System")


class Message(models.Model):
    """One line of the thread. Written under the session's lock, so ids follow its order."""

    class Status(models.TextChoices):
        COMPLETE = "complete", _("Complete")
        INTERRUPTED = "interrupted", _("Interrupted")

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="messages")
    role = models.CharField(_("role"), max_length=10, choices=MessageRole)
    content = models.TextField(_("content"))
    client_id = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001 - NULLs do not collide in the unique constraint
    reply_id = models.UUIDField(null=True, blank=True, unique=True)
    agent = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("agent"),
    )
    agent_name = models.CharField(_("agent's name"), max_length=150, blank=True)
    sources = models.JSONField(_("sources"), default=list, blank=True)
    status = models.CharField(
        _("status"), max_length=12, choices=Status, default=Status.COMPLETE
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["pk"]
        indexes = [models.Index(fields=["session", "id"], name="message_thread")]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "client_id"],
                condition=Q(role=MessageRole.USER),
                name="message_once_per_client_id",
            ),
            models.UniqueConstraint(
                fields=["session", "agent", "client_id"],
                condition=Q(role=MessageRole.AGENT),
                name="message_once_per_agents_client_id",
            ),
            models.CheckConstraint(
                condition=Q(role__in=MessageRole.values), name="message_role_known"
            ),
            models.CheckConstraint(
                condition=~Q(role=MessageRole.AGENT) | Q(agent__isnull=False),
                name="message_agent_named",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} #{self.pk}"


class MessageFeedback(models.Model):
    """What a customer thinks of an answer of the AI; the latest word counts."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="feedback")
    helpful = models.BooleanField(_("helpful"))
    comment = models.TextField(_("comment"), blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("feedback on an answer")
        verbose_name_plural = _("feedback on answers")

    def __str__(self) -> str:
        return f"{'+' if self.helpful else '-'} #{self.message_id}"
