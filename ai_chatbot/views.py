"""The customer's pages: a demo shop with the widget on it, the chat on a page of its own."""

from __future__ import annotations

from django.conf import settings
from django.contrib.staticfiles.finders import find
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from ai_chatbot.models import Article


@require_safe
def shop(request: HttpRequest) -> HttpResponse:
    """Only in the demo; a real installation has the shop elsewhere, and here the chat."""
    if not settings.DEMO:
        return redirect("chat")
    return render(request, "ai_chatbot/shop.html", {"articles": _articles()})


@require_safe
def chat(request: HttpRequest) -> HttpResponse:
    return render(request, "ai_chatbot/chat.html")


@require_safe
def article(request: HttpRequest, slug: str) -> HttpResponse:
    found = _in_language(slug)
    if found is None:
        raise Http404
    return render(request, "ai_chatbot/article.html", {"article": found})


@require_safe
@cache_control(public=True, max_age=300)
def widget(_request: HttpRequest) -> HttpResponse:
    """The one script tag of a shop's page; it loads the chat from this server."""
    path = find("ai_chatbot/widget.js")
    if path is None:
        raise Http404
    with open(path, "rb") as file:
        return HttpResponse(file.read(), content_type="text/javascript; charset=utf-8")


def _articles() -> list[Article]:
    here = Article.objects.filter(published=True, language=get_language())
    rows = here if here.exists() else Article.objects.filter(published=True)
    return list(rows[:6])


def _in_language(slug: str) -> Article | None:
    rows = Article.objects.filter(published=True, slug=slug)
    return (
        rows.filter(language=get_language()).first()
        or rows.filter(language=settings.LANGUAGE_CODE).first()
        or rows.first()
    )
