"""The demo shop's help pages, "Lumen & Leaf": lamps and house plants."""

import json
from pathlib import Path

from django.conf import settings
from django.db import transaction

from ai_chatbot.models import Article

FOLDER = Path(__file__).parent


@transaction.atomic
def load_articles() -> int:
    """Creates the demo articles, or puts their text back; returns how many it had to write.

    What is published is left as it is, and so is every article the demo does not have.
    """
    written = 0
    for language, _ in settings.LANGUAGES:
        path = FOLDER / f"articles.{language}.json"
        if not path.exists():
            continue
        present = {
            article.slug: article for article in Article.objects.filter(language=language)
        }
        for row in json.loads(path.read_text(encoding="utf-8")):
            article = present.get(row["slug"]) or Article(slug=row["slug"], language=language)
            text = {"title": row["title"], "body": row["body"], "url": row["url"]}
            if article.pk and all(getattr(article, name) == text[name] for name in text):
                continue
            for name, value in text.items():
                setattr(article, name, value)
            article.clean_fields()
            article.save()
            written += 1
    return written
