"""The AI's turns."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ai_chatbot.models.sessions import ChatSession, Message


class ReplyTurn(models.Model):
    """The AI's duty to answer, from the customer's message to the stored reply.

    A running turn belongs to one process until `lease_until`; one whose lease has run out was
    left by a process that died, and any other may finish it.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        ABORTED = "aborted"
        FAILED = "failed"

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="turns")
    question = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="turns")
    reply_id = models.UUIDField(default=uuid.uuid4, unique=True)
    ownership_epoch = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    text = models.TextField(blank=True, help_text="What has been shown to the customer so far.")
    attempt = models.PositiveSmallIntegerField(default=1)
    started_cursor = models.CharField(max_length=64, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("AI turn")
        verbose_name_plural = _("AI turns")
        indexes = [models.Index(fields=["state", "lease_until"], name="turn_lease")]
        constraints = [
            models.UniqueConstraint(
                fields=["session"],
                condition=Q(state__in=["waiting", "running"]),
                name="turn_one_active_per_session",
            ),
        ]

    def __str__(self) -> str:
        return str(self.reply_id)
