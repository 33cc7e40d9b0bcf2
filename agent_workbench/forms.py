"""The forms of the two login pages, and of what may lock everybody out."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm, UserChangeForm
from django.core.exceptions import ValidationError
from django.forms import ModelForm
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from ninja.errors import Throttled

from agent_workbench import access, accounts, login_limit, presence
from agent_workbench.exceptions import NotAnAgent
from agent_workbench.models import Role


class _SlowForGuessers(AuthenticationForm):
    def clean(self) -> dict[str, Any]:
        username = self.cleaned_data.get("username")
        if not username or not self.cleaned_data.get("password"):
            # No try: Django asks for what is missing, and looks at no password.
            return super().clean()
        assert self.request is not None  # noqa: S101 - LoginView passes it
        try:
            with login_limit.attempt(self.request, username):
                return super().clean()
        except Throttled as error:
            raise ValidationError(_("Too many attempts. Please wait a minute.")) from error


class AgentLoginForm(_SlowForGuessers):
    """The workbench's: for agents only."""

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        try:
            presence.arrive(access.agent_of(user))
        except NotAnAgent as error:
            raise ValidationError(_("This user is not an agent.")) from error


class StaffLoginForm(_SlowForGuessers, AdminAuthenticationForm):
    """Django's admin's."""


CODES_AT_MOST = 50


class CodesField(forms.CharField):
    """A list of codes, written with commas between them."""

    def __init__(self, *, pattern: str, **kwargs: Any) -> None:
        self._pattern = re.compile(pattern)
        super().__init__(required=False, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        written = re.split(r"[\s,;，；、]+", (super().to_python(value) or "").casefold())
        codes = list(dict.fromkeys(code for code in written if code))
        if len(codes) > CODES_AT_MOST:
            raise ValidationError(_("At most %(number)s.") % {"number": CODES_AT_MOST})
        for code in codes:
            if not self._pattern.fullmatch(code):
                raise ValidationError(_("“%(code)s” is not a language code.") % {"code": code})
        return codes

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or []) != self.to_python(data))
        except ValidationError:
            return True


class AgentForm(ModelForm):  # type: ignore[type-arg]
    languages = CodesField(
        pattern=r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}",
        label=gettext_lazy("Languages"),
        help_text=gettext_lazy("Codes separated by commas: en, zh-hans. Empty: all."),
    )
    skills = CodesField(
        pattern=r"[\w.+-]{1,50}",
        label=gettext_lazy("Skills"),
        help_text=gettext_lazy("Words separated by commas: billing, returns."),
    )

    def clean_role(self) -> str:
        role: str = self.cleaned_data["role"]
        if self.instance.pk and self.initial["role"] == Role.ADMIN != role:
            accounts.check_administrator_remains(self.instance.user)
        return role


class AccountForm(UserChangeForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        needed = ("is_active", "is_staff", "is_superuser")
        if not all(cleaned.get(name, True) for name in needed):
            accounts.check_administrator_remains(self.instance)
        return cleaned
