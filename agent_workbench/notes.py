"""Notes: what agents write to one another about a conversation. Whoever may follow it may write
one. Nothing of them is ever for the customer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from agent_workbench import access, announcements
from agent_workbench.announcements import Told
from agent_workbench.exceptions import NoteNotFound, NotTheAuthor
from agent_workbench.models import Agent, Note, Role
from ai_chatbot import events
from ai_chatbot.conversation import handoff
from ai_chatbot.models import ChatSession

CHARACTERS = 4000
# In a session's state.
SHOWN = 50
# Of one note; what else looks like one is text.
MENTIONS_MOST = 20
# What Django allows in a username, and none that is part of an address. Where words are not
# parted by spaces, text that is none of the username may follow it at once.
_MENTION = re.compile(r"(?<![A-Za-z0-9_.+@-])@(([A-Za-z0-9_.+@-]*)[\w.+@-]*)")
# What may end a username, and ends a sentence more often.
_TRAILING = ".+@-_"


@transaction.atomic
def write(
    session_name: str, author: Agent, *, content: str, client_id: str | None = None
) -> tuple[Note, bool]:
    """The note, and whether it is new: the same `client_id` is stored once.

    Raises SessionNotFound, MayNotFollow.
    """
    session = handoff.lock(session_name)
    access.check_may_follow(author, session)
    if client_id is not None:
        known = session.notes.filter(author_id=author.user_id, client_id=client_id).first()
        if known is not None:
            return known, False
    note, told = add_locked(session, author, content, client_id)
    announcements.to_agents(told)
    return note, True


def add_locked(
    session: ChatSession, author: Agent, content: str, client_id: str | None = None
) -> tuple[Note, list[Told]]:
    """The note, and what is to be told to those mentioned in it, together with what else the
    caller has to tell to agents. Under the session's lock."""
    note = Note.objects.create(
        session=session,
        author_id=author.user_id,
        author_name=author.display_name,
        content=content[:CHARACTERS],
        client_id=client_id,
    )
    _announce(note, "added")
    return note, _mentions(note, by=author)


@transaction.atomic
def edit(session_name: str, note_id: int, by: Agent, *, content: str) -> Note:
    """Only who is mentioned anew hears of it.

    Raises SessionNotFound, MayNotFollow, NoteNotFound, NotTheAuthor.
    """
    note = _locked(session_name, note_id, by)
    if note.author_id != by.user_id:
        raise NotTheAuthor
    if note.content == content:
        return note
    known = {agent.pk for agent in mentioned([note])[note.pk]}
    note.content, note.edited_at = content, timezone.now()
    note.save(update_fields=["content", "edited_at"])
    _announce(note, "updated")
    announcements.to_agents(_mentions(note, by=by, known=known))
    return note


@transaction.atomic
def remove(session_name: str, note_id: int, by: Agent) -> None:
    """Raises as `edit` does; administrators remove anybody's."""
    note = _locked(session_name, note_id, by)
    if note.author_id != by.user_id and by.role != Role.ADMIN:
        raise NotTheAuthor
    _announce(note, "removed")
    note.delete()


def latest(session: ChatSession) -> list[dict[str, Any]]:
    return page(session, before=None, limit=SHOWN)["items"]  # type: ignore[no-any-return]


def page(session: ChatSession, *, before: int | None, limit: int) -> dict[str, Any]:
    """In the order in which they were written; `next` is the `before` of the page above."""
    rows = session.notes.order_by("-pk")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    found.reverse()
    for note in found:
        note.session = session
    return {"items": as_json(found), "next": str(found[0].pk) if more else None}


def as_json(notes: Sequence[Note]) -> list[dict[str, Any]]:
    names = mentioned(notes)
    return [
        {
            "id": note.pk,
            "session_name": note.session.name,
            "author": events.person(note.author_id, note.author_name),
            "content": note.content,
            "client_id": note.client_id,
            "created_at": events.stamp(note.created_at),
            "edited_at": events.stamp(note.edited_at) if note.edited_at else None,
            "mentions": [agent.shown for agent in names[note.pk]],
        }
        for note in notes
    ]


def mentioned(notes: Iterable[Note]) -> dict[int, list[Agent]]:
    """By the note's key, the active agents whose usernames stand in it after an @."""
    named = {note.pk: _names(note.content) for note in notes}
    wanted = {name for names in named.values() for may in names for name in may}
    if not wanted:
        return {key: [] for key in named}
    agents = Agent.objects.active().filter(user__username__in=wanted).select_related("user")
    known = {agent.username: agent for agent in agents}
    found = {}
    for key, names in named.items():
        each = (next((known[name] for name in may if name in known), None) for may in names)
        unique = {agent.pk: agent for agent in each if agent is not None}
        found[key] = list(unique.values())
    return found


def _names(content: str) -> list[tuple[str, str, str, str]]:
    """What may be usernames, the first known one counts: as they stand, and without what
    follows them."""
    names = dict.fromkeys(match.groups() for match in _MENTION.finditer(content))
    return [
        (name, name.rstrip(_TRAILING), plain, plain.rstrip(_TRAILING)) for name, plain in names
    ][:MENTIONS_MOST]


def _locked(session_name: str, note_id: int, by: Agent) -> Note:
    """The note of this session, under the session's lock."""
    session = handoff.lock(session_name)
    access.check_may_follow(by, session)
    note = session.notes.filter(pk=note_id).first()
    if note is None:
        raise NoteNotFound
    note.session = session
    return note


def _announce(note: Note, change: str) -> None:
    announcements.to_followers(
        note.session.name, "note", {**as_json([note])[0], "change": change}
    )


def _mentions(note: Note, *, by: Agent, known: Iterable[int] = ()) -> list[Told]:
    """For those named in it, the author and `known` apart. Who may not follow the session
    learns that there is something, and not what."""
    session = note.session
    told: list[Told] = []
    for agent in mentioned([note])[note.pk]:
        if agent.pk == by.pk or agent.pk in known:
            continue
        payload: dict[str, Any] = {"session_name": session.name}
        if access.may_follow(agent, session):
            payload["note"] = as_json([note])[0]
        else:
            payload["by"] = by.shown
        told.append((agent.user_id, "mention", payload))
    return told
