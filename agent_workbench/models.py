"""Agents: Django users with a profile, their presence and their API tokens."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import Count, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ai_chatbot.conversation.people import Person
from ai_chatbot.models import ChatSession, Status


class Role(models.TextChoices):
    AGENT = "agent", _("Agent")
    SUPERVISOR = "supervisor", _("Supervisor")
    ADMIN = "admin", _("Administrator")


class PresenceStatus(models.TextChoices):
    ONLINE = "online", _("Online")
    BUSY = "busy", _("Busy")
    BREAK = "break", _("On a break")
    OFFLINE = "offline", _("Offline")


def _live() -> Coalesce:
    """How many live conversations an agent of a query has."""
    live = ChatSession.objects.filter(agent=OuterRef("user"), status=Status.MANUAL_LIVE)
    # Not of those it has closed, which name it too: the index on both is what is read.
    counted = live.order_by().values("agent").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted), 0)


class AgentQuerySet(models.QuerySet["Agent"]):
    def active(self) -> AgentQuerySet:
        return self.filter(user__is_active=True)

    def with_live(self) -> AgentQuerySet:
        """Each with what `Agent.live` would count one by one."""
        return self.annotate(live_count=_live())

    def with_room(self) -> AgentQuerySet:
        """Those who may have one more conversation, as `with_live`."""
        return self.annotate(live_count=_live()).filter(live_count__lt=F("max_sessions"))

    def update(self, **fields: Any) -> int:
        """Not of roles: what comes and goes with a role hangs on `Agent.save`."""
        if "role" in fields:
            raise TypeError("Change a role by saving the agent.")
        return super().update(**fields)


class Agent(models.Model):
    """What a user is as an agent. Supervisors and administrators may act on every
    conversation."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="agent_profile",
        verbose_name=_("user"),
    )
    display_name = models.CharField(
        _("display name"), max_length=100, help_text=_("The name customers see.")
    )
    role = models.CharField(_("role"), max_length=10, choices=Role, default=Role.AGENT)
    languages = models.JSONField(
        _("languages"),
        default=list,
        blank=True,
        db_default=models.Value([], models.JSONField()),
        help_text=_("Codes, such as en; empty: all."),
    )
    skills = models.JSONField(
        _("skills"), default=list, blank=True, db_default=models.Value([], models.JSONField())
    )
    max_sessions = models.PositiveSmallIntegerField(
        _("conversations at once"), default=5, validators=[MinValueValidator(1)]
    )
    status = models.CharField(
        _("presence"), max_length=10, choices=PresenceStatus, default=PresenceStatus.OFFLINE
    )
    # Offline by choice stays so; offline for being gone ends when the agent returns.
    status_chosen = models.BooleanField(default=False, editable=False)
    seen_at = models.DateTimeField(_("last seen"), null=True, blank=True, editable=False)
    # When a conversation was last assigned: whose turn it is.
    assigned_at = models.DateTimeField(null=True, blank=True, editable=False)

    # What is stored while it is being saved; None: nothing yet.
    former_role: str | None
    # Who changes it, for the audit log; None: a command, or code.
    changed_by: Person | None = None

    objects = AgentQuerySet.as_manager()

    class Meta:
        verbose_name = _("agent")
        verbose_name_plural = _("agents")
        ordering = ["display_name"]
        constraints = [
            models.CheckConstraint(condition=Q(role__in=Role.values), name="agent_role_known"),
            models.CheckConstraint(
                condition=Q(status__in=PresenceStatus.values), name="agent_status_known"
            ),
        ]

    def __str__(self) -> str:
        return self.display_name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Together with what a changed role brings; see agent_workbench.signals."""
        with transaction.atomic(savepoint=False):
            super().save(*args, **kwargs)

    @property
    def username(self) -> str:
        return self.user.get_username()

    @property
    def person(self) -> Person:
        return Person(
            id=self.user_id,
            name=self.display_name,
            supervises=self.supervises,
        )

    @cached_property
    def live(self) -> int:
        """How many live conversations the agent has: when it was read by `with_live`, else when
        this is first asked. Any number stays, whatever the limit becomes."""
        known: int | None = vars(self).get("live_count")
        if known is not None:
            return known
        mine = ChatSession.objects.filter(agent=self.user_id, status=Status.MANUAL_LIVE)
        return mine.count()

    @property
    def shown(self) -> dict[str, Any]:
        """`{id, name}`, as events and answers have an agent."""
        return {"id": self.user_id, "name": self.display_name}

    @property
    def supervises(self) -> bool:
        return self.role in (Role.SUPERVISOR, Role.ADMIN)


class TokenKind(models.TextChoices):
    ACCESS = "access"
    REFRESH = "refresh"


class AgentTokenQuerySet(models.QuerySet["AgentToken"]):
    def valid(self) -> AgentTokenQuerySet:
        return self.filter(expires_at__gt=timezone.now(), agent__user__is_active=True)


class AgentToken(models.Model):
    """A bearer token of an API client, stored as a digest.

    Those that come from one login, each refreshed from the one before, are a family. At most
    one pair of it is good, and none after its end.
    """

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="tokens")
    kind = models.CharField(max_length=7, choices=TokenKind)
    digest = models.CharField(max_length=64, unique=True)
    family = models.CharField(
        max_length=64, blank=True, default="", db_default="", db_index=True
    )
    family_ends_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    objects = AgentTokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"


class LoginTries(models.Model):
    """How often a password has been tried; see agent_workbench.login_limit."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.PositiveIntegerField()
    # Unix seconds: when counting begins anew, and the row may go.
    until = models.BigIntegerField(db_index=True)

    def __str__(self) -> str:
        return f"{self.count} until {self.until}"


class Note(models.Model):
    """What agents write to one another about a conversation. Never for the customer."""

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="notes")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    author_name = models.CharField(_("author"), max_length=150)
    content = models.TextField(_("content"))
    client_id = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001 - NULLs do not collide in the unique constraint
    created_at = models.DateTimeField(_("written at"), auto_now_add=True)
    edited_at = models.DateTimeField(_("edited at"), null=True, blank=True)

    class Meta:
        verbose_name = _("note")
        verbose_name_plural = _("notes")
        ordering = ["pk"]
        indexes = [models.Index(fields=["session", "id"], name="note_thread")]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "author", "client_id"], name="note_once_per_client_id"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class TransferRequestQuerySet(models.QuerySet["TransferRequest"]):
    def standing(self) -> TransferRequestQuerySet:
        """Those that wait for an answer and can be accepted: nobody has had the session since
        but its owner, not even for a moment."""
        return self.filter(
            state=TransferRequest.State.PENDING,
            session__ownership_epoch=F("ownership_epoch"),
            expires_at__gt=timezone.now(),
            to_agent__user__is_active=True,
        )

    def fallen(self) -> TransferRequestQuerySet:
        """Those that wait still, and for nothing."""
        return self.filter(
            ~Q(session__ownership_epoch=F("ownership_epoch"))
            | Q(expires_at__lte=timezone.now())
            | Q(to_agent__user__is_active=False),
            state=TransferRequest.State.PENDING,
        )


class TransferRequest(models.Model):
    """The owner asks another agent to take a conversation. One of a session waits at most."""

    class State(models.TextChoices):
        PENDING = "pending", _("Waiting for an answer")
        ACCEPTED = "accepted", _("Accepted")
        DECLINED = "declined", _("Declined")
        EXPIRED = "expired", _("Not answered in time")
        CANCELLED = "cancelled", _("Cancelled")

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="transfers")
    from_agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    to_agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    # The owner, or the supervisor who asked for the owner.
    asked_by = models.ForeignKey(
        Agent, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    # The session's, when it was asked.
    ownership_epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    note = models.TextField(_("note"), blank=True)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    created_at = models.DateTimeField(_("asked at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"))
    answered_at = models.DateTimeField(_("answered at"), null=True, blank=True)

    objects = TransferRequestQuerySet.as_manager()

    class Meta:
        verbose_name = _("transfer request")
        verbose_name_plural = _("transfer requests")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "expires_at"], name="transfer_expiry")]
        constraints = [
            models.UniqueConstraint(
                fields=["session"], condition=Q(state="pending"), name="transfer_one_pending"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class AssistRequestQuerySet(models.QuerySet["AssistRequest"]):
    def standing(self) -> AssistRequestQuerySet:
        """Those that are open, in live conversations, which may change hands meanwhile."""
        return self.filter(
            ~Q(session__agent=F("to_agent__user")),
            state=AssistRequest.State.OPEN,
            session__status=Status.MANUAL_LIVE,
            to_agent__user__is_active=True,
        )

    def fallen(self) -> AssistRequestQuerySet:
        """Those that are open still, and for nothing."""
        return self.filter(
            ~Q(session__status=Status.MANUAL_LIVE)
            | Q(session__agent=F("to_agent__user"))
            | Q(to_agent__user__is_active=False),
            state=AssistRequest.State.OPEN,
        )


class AssistRequest(models.Model):
    """The owner asks a colleague, who may read the conversation while it is open, and answers
    in notes."""

    class State(models.TextChoices):
        OPEN = "open", _("Open")
        ANSWERED = "answered", _("Answered")
        CLOSED = "closed", _("Closed")

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="assists")
    from_agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    to_agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    question = models.TextField(_("question"))
    answer = models.TextField(_("answer"), blank=True)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.OPEN)
    created_at = models.DateTimeField(_("asked at"), auto_now_add=True)
    answered_at = models.DateTimeField(_("answered at"), null=True, blank=True)

    objects = AssistRequestQuerySet.as_manager()

    class Meta:
        verbose_name = _("assist request")
        verbose_name_plural = _("assist requests")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "to_agent"],
                condition=Q(state="open"),
                name="assist_once_per_colleague",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class Notice(models.Model):
    """Something an agent must hear of, also on return: it stays until it has been read."""

    class Kind(models.TextChoices):
        SESSION_LOST = "session_lost", _("Went back to the queue while you were away")
        SESSION_SILENT = "session_silent", _("Went back to the queue, the customer waited")
        CUSTOMER_WAITS = "customer_waits", _("Your customer is waiting for an answer")
        AGENT_SILENT = "agent_silent", _("A customer waits for an agent's answer")
        SESSION_MOVED = "session_moved", _("A supervisor gave it to somebody else")

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="+")
    details = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(_("at"), auto_now_add=True)
    read_at = models.DateTimeField(_("read at"), null=True, blank=True)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["agent"], condition=Q(read_at__isnull=True), name="notice_unread"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"
