"""What happens to accounts, and ends streams by itself."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save

import sse
from sse.live.subjects import subject_of_session, subject_of_user


def heed_accounts() -> None:
    """End streams when the session that they were opened with is over, and when their user is
    deactivated or deleted."""
    user_logged_in.connect(_at_login, dispatch_uid="sse login")
    user_logged_out.connect(_at_logout, dispatch_uid="sse logout")
    try:
        User = apps.get_model(settings.AUTH_USER_MODEL)
    except LookupError:
        # There are no accounts here.
        return
    for model in apps.get_models():
        if issubclass(model, User):
            post_save.connect(_at_deactivation, sender=model, dispatch_uid="sse save")
            # Of one that inherits, the part that is a user is deleted with a signal of its own.
            if model._meta.concrete_model is User:
                post_delete.connect(_at_deletion, sender=model, dispatch_uid="sse delete")


def _at_login(request: Any, **_: Any) -> None:
    """The session that the browser had is over, unless its user only logs in again."""
    key = getattr(request, "COOKIES", {}).get(settings.SESSION_COOKIE_NAME)
    if key and key != getattr(getattr(request, "session", None), "session_key", None):
        _close_after_commit(subject_of_session(key))


def _at_logout(request: Any, **_: Any) -> None:
    key = getattr(getattr(request, "session", None), "session_key", None)
    if key:
        _close_after_commit(subject_of_session(key))


def _at_deactivation(
    instance: Any, created: bool, raw: bool, using: str, update_fields: Any, **_: Any
) -> None:
    written = update_fields is None or "is_active" in update_fields
    if not (created or raw) and written and not getattr(instance, "is_active", True):
        _close_after_commit(subject_of_user(instance.pk), using)


def _at_deletion(instance: Any, using: str, **_: Any) -> None:
    _close_after_commit(subject_of_user(instance.pk), using)


def _close_after_commit(subject: str, using: str | None = None) -> None:
    """Not in the transaction, which is another's: it would hold CONTROL's lock, for which
    everyone waits who closes streams, for as long as it likes."""
    transaction.on_commit(lambda: sse.close_streams(subject), using, robust=True)
