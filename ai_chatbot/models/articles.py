"""The knowledge base."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxLengthValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

ARTICLE_MAX_CHARACTERS = 100_000


class Article(models.Model):
    """A knowledge-base article, the offline AI's only source."""

    slug = models.SlugField(_("slug"), max_length=100)
    language = models.CharField(
        _("language"), max_length=16, choices=settings.LANGUAGES, default="en"
    )
    title = models.CharField(_("title"), max_length=200)
    body = models.TextField(
        _("body"),
        help_text=_("Plain text; an empty line separates passages."),
        validators=[MaxLengthValidator(ARTICLE_MAX_CHARACTERS)],
    )
    url = models.CharField(
        _("address"), max_length=300, blank=True, help_text=_("Where customers can read it.")
    )
    published = models.BooleanField(_("published"), default=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("knowledge-base article")
        verbose_name_plural = _("knowledge base")
        ordering = ["title"]
        constraints = [
            models.UniqueConstraint(
                fields=["slug", "language"], name="article_once_per_language"
            ),
        ]

    def __str__(self) -> str:
        return self.title
