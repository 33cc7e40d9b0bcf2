"""The rules that fetch a person, in the admin, and the page on which they are tried out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.helpers import AdminForm
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _

from ai_chatbot import handoff_rules
from ai_chatbot.models import MESSAGE_MAX_CHARACTERS, HandoffRule
from ai_chatbot.models.handoffs import THRESHOLD_AT_MOST, WORD_CHARACTERS, WORDS_AT_MOST

SKILLS_AT_MOST = 10
SKILL_CHARACTERS = 50


class SkillsField(forms.CharField):
    """A list of tags, written with commas between them."""

    widget = AdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        parts = (part.strip() for part in str(value or "").split(","))
        return list(dict.fromkeys(filter(None, parts)))

    def validate(self, value: Any) -> None:
        if len(value) > SKILLS_AT_MOST or any(len(skill) > SKILL_CHARACTERS for skill in value):
            raise ValidationError(
                _("At most %(many)d skills of at most %(long)d characters."),
                params={"many": SKILLS_AT_MOST, "long": SKILL_CHARACTERS},
            )

    def run_validators(self, value: Any) -> None:
        """Those of a text do not fit a list."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


def _language(*, empty: Any) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=_("Language"), required=False, choices=[("", empty), *settings.LANGUAGES]
    )


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    language = _language(empty=_("all"))
    skills = SkillsField(
        label=_("Needs an agent with"),
        required=False,
        help_text=_("Skills, separated by commas."),
    )

    class Meta:
        model = HandoffRule
        fields = [
            "name", "active", "order", "kind", "words", "threshold", "language", "code",
            "severity", "priority", "skills",
        ]  # fmt: skip
        help_texts = {
            "words": _(
                "For words and phrases: one a line, at most %(words)d, of at most "
                "%(characters)d characters each. Capitals do not matter; English words are "
                "found as whole words, Chinese ones anywhere."
            )
            % {"words": WORDS_AT_MOST, "characters": WORD_CHARACTERS},
            "code": _("What the handoff is filed under, such as legal or complaint."),
            "priority": _("At least this, in the line."),
        }


class RuleInListForm(forms.ModelForm):  # type: ignore[type-arg]
    """A few fields of a rule; what is wrong with another is said of the rule."""

    def add_error(self, field: str | None, error: Any) -> None:
        if field is None and hasattr(error, "error_dict"):
            error = ValidationError(error.messages)
        super().add_error(field, error)


class TrialForm(forms.Form):
    """What a message might say, and in what conversation."""

    text = forms.CharField(
        label=_("Message"),
        required=False,
        max_length=MESSAGE_MAX_CHARACTERS,
        widget=AdminTextareaWidget(attrs={"rows": 4}),
    )
    language = forms.ChoiceField(label=_("Language"), choices=settings.LANGUAGES)
    vip = forms.BooleanField(label=_("VIP"), required=False)
    failures = forms.IntegerField(
        label=_("Failed answers in a row"),
        initial=0,
        min_value=0,
        max_value=THRESHOLD_AT_MOST,
    )
    thumbs_down = forms.IntegerField(
        label=_("Unhelpful answers in a row"),
        initial=0,
        min_value=0,
        max_value=THRESHOLD_AT_MOST,
    )


class HandoffRuleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = RuleForm
    list_display = [
        "name", "order", "active", "kind", "language", "code", "severity", "priority",
    ]  # fmt: skip
    list_editable = ["order", "active"]
    list_filter = ["active", "kind", "language"]
    search_fields = ["name", "words", "code"]

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{"form": RuleInListForm, **kwargs})

    def get_urls(self) -> list[URLPattern]:
        tester = path(
            "try/",
            self.admin_site.admin_view(self.try_out),
            name="ai_chatbot_handoffrule_try",
        )
        return [tester, *super().get_urls()]

    def try_out(self, request: HttpRequest) -> TemplateResponse:
        """Which rule a message would set off. Nothing is stored."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = TrialForm(request.POST if request.method == "POST" else None)
        trials = None
        if form.is_valid():
            trials = handoff_rules.explain(handoff_rules.Given(**form.cleaned_data))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "title": _("Try out the rules"),
            "form": form,
            "adminform": AdminForm(
                form,  # type: ignore[arg-type] # any form will do
                [(None, {"fields": list(form.fields)})],
                {},
            ),
            "trials": trials,
            "decides": next((each for each in trials or () if each.decides), None),
        }
        return TemplateResponse(request, "admin/ai_chatbot/handoffrule/try.html", context)
