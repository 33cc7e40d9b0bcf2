"""Mail that is to be sent: written with what it tells of, sent later, tried again."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ai_chatbot.models.sessions import ChatSession, Message


class Mail(models.Model):
    """One mail to one address.

    One that is being sent belongs to a process until `lease_until`; if that dies, it is sent
    again, so a mail may come twice and is never lost.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed for good")
        NEEDLESS = "needless", _("Not needed any more")

    class Kind(models.TextChoices):
        STAFF = "staff", _("To staff: a customer wants to be written to")
        REPLY = "reply", _("To the customer: an agent's reply")

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="mails")
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    message = models.ForeignKey(
        Message, null=True, blank=True, on_delete=models.CASCADE, related_name="mails"
    )
    # Whom it is for is looked up when it is sent.
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    due_at = models.DateTimeField(_("due at"))
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    error = models.CharField(_("last error"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("written at"), auto_now_add=True)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)

    class Meta:
        verbose_name = _("mail")
        verbose_name_plural = _("mail")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "due_at"], name="mail_due")]
        constraints = [
            models.UniqueConstraint(
                fields=["session"], condition=Q(kind="staff"), name="mail_to_staff_once"
            ),
            models.UniqueConstraint(
                fields=["message"],
                condition=Q(message__isnull=False),
                name="mail_once_per_message",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"
