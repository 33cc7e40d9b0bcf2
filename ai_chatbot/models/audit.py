"""Who did what. Rows are added and never changed; the database refuses it too, by a trigger.

They may be deleted, by whoever keeps to a retention, and not through the model.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _


class AuditError(Exception):
    """The audit log is added to and otherwise left alone."""


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def update(self, **fields: Any) -> NoReturn:
        raise AuditError("The audit log is not changed.")

    def delete(self) -> NoReturn:
        raise AuditError("The audit log is not deleted from.")


class AuditEntry(models.Model):
    """Names and numbers, not references: what they name may go, the entry stays."""

    at = models.DateTimeField(_("at"), auto_now_add=True, db_index=True)
    action = models.CharField(_("action"), max_length=30, db_index=True)
    # The user's id, None for the system and for customers.
    actor_id = models.BigIntegerField(_("by (id)"), null=True, blank=True, db_index=True)
    actor_name = models.CharField(_("by"), max_length=150, blank=True)
    session_name = models.CharField(_("session"), max_length=64, blank=True, db_index=True)
    details = models.JSONField(_("details"), default=dict, blank=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        ordering = ["-pk"]
        default_permissions = ["view"]

    def __str__(self) -> str:
        return f"{self.action} #{self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AuditError("The audit log is not changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AuditError("The audit log is not deleted from.")
