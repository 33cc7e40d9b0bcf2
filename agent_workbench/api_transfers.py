"""The agents' HTTP API: transfers, requests for help, and notes."""

from __future__ import annotations

from typing import Annotated, Any

from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from ninja import Path, Query, Router, Status

from agent_workbench import assists, notes, states, transfers
from agent_workbench.authentication import AgentCookie, AgentToken, caller
from agent_workbench.exceptions import AgentNotFound, AmbiguousAgent
from agent_workbench.models import Agent, TransferRequest
from agent_workbench.schemas import (
    AgentSessionState,
    AnsweredTransfer,
    AssistAnswer,
    AssistList,
    AssistOut,
    NewAssist,
    NewNote,
    NoteIn,
    NoteOut,
    NotePage,
    Transfer,
    TransferAnswer,
    TransferList,
    TransferOut,
)
from ai_chatbot.api import MAX_ID, REFUSALS, SessionName

router = Router(tags=["agent"], auth=[AgentToken(), AgentCookie()])

Id = Annotated[int, Path(ge=0, le=MAX_ID)]
QUEUE = "queue"


@router.post(
    "/sessions/{slug:session_name}/transfer", response={200: AgentSessionState, **REFUSALS}
)
def transfer(request: HttpRequest, session_name: SessionName, body: Transfer) -> dict[str, Any]:
    """Ask another agent to take the conversation, which stays with its owner until that agent
    accepts (`transfer` in the state); or put it back into the line."""
    agent = caller(request)
    with transaction.atomic():
        if body.to_agent is None or body.to_agent == QUEUE:
            transfers.to_queue(session_name, agent, body.note)
        else:
            transfers.ask(session_name, agent, _named(body.to_agent), body.note)
        return states.of(agent, session_name)


@router.get("/transfer-requests/pending", response={200: TransferList, **REFUSALS})
def pending_transfers(request: HttpRequest) -> dict[str, Any]:
    """What the caller was asked, and what the caller asked; the latest first."""
    return {"items": transfers.waiting_for(caller(request)), "next": None}


@router.post(
    "/transfer-requests/{int:request_id}/respond", response={200: AnsweredTransfer, **REFUSALS}
)
def answer_transfer(
    request: HttpRequest, request_id: Id, body: TransferAnswer
) -> dict[str, Any]:
    """The agent who was asked takes the conversation, or does not."""
    agent = caller(request)
    with transaction.atomic():
        answered = transfers.answer(request_id, agent, accept=body.accept)
        return {**transfers.as_json(answered), "session": _if_accepted(agent, answered)}


@router.delete("/transfer-requests/{int:request_id}", response={200: TransferOut, **REFUSALS})
def cancel_transfer(request: HttpRequest, request_id: Id) -> dict[str, Any]:
    """Whoever asked takes it back."""
    return transfers.as_json(transfers.cancel(request_id, caller(request)))


@router.post("/assist-requests", response={200: AssistOut, **REFUSALS})
def ask_for_help(request: HttpRequest, body: NewAssist) -> dict[str, Any]:
    """Ask a colleague, who may follow the conversation until the answer is given."""
    asked = assists.ask(
        body.session_name, caller(request), _named(body.to_agent), body.question
    )
    return assists.as_json(asked)


@router.get("/assist-requests/pending", response={200: AssistList, **REFUSALS})
def open_assists(request: HttpRequest) -> dict[str, Any]:
    """What the caller was asked, and what the caller asked; the latest first."""
    return {"items": assists.open_for(caller(request)), "next": None}


@router.post("/assist-requests/{int:request_id}/answer", response={200: AssistOut, **REFUSALS})
def answer_assist(request: HttpRequest, request_id: Id, body: AssistAnswer) -> dict[str, Any]:
    """The colleague's answer, which is kept as a note as well."""
    return assists.as_json(assists.answer(request_id, caller(request), body.answer))


@router.delete("/assist-requests/{int:request_id}", response={200: AssistOut, **REFUSALS})
def close_assist(request: HttpRequest, request_id: Id) -> dict[str, Any]:
    """Whoever asked needs no answer any more."""
    return assists.as_json(assists.close(request_id, caller(request)))


@router.get("/sessions/{slug:session_name}/notes", response={200: NotePage, **REFUSALS})
def session_notes(
    request: HttpRequest,
    session_name: SessionName,
    cursor: Annotated[int | None, Query(ge=0, le=MAX_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """The latest, in the order in which they were written. `next`, as `cursor`, gives those
    before."""
    agent = caller(request)
    page = notes.page(states.followed(agent, session_name), before=cursor, limit=limit)
    # Another agent may have taken it meanwhile.
    states.followed(agent, session_name)
    return page


@router.post(
    "/sessions/{slug:session_name}/notes", response={200: NoteOut, 201: NoteOut, **REFUSALS}
)
def add_note(
    request: HttpRequest, session_name: SessionName, body: NewNote
) -> Status[dict[str, Any]]:
    """Write to colleagues: 201; or 200 and the note stored before, for a repeated `client_id`.
    `@username` tells that agent."""
    note, new = notes.write(
        session_name, caller(request), content=body.content, client_id=body.client_id
    )
    return Status(201 if new else 200, notes.as_json([note])[0])


@router.put(
    "/sessions/{slug:session_name}/notes/{int:note_id}", response={200: NoteOut, **REFUSALS}
)
def edit_note(
    request: HttpRequest, session_name: SessionName, note_id: Id, body: NoteIn
) -> dict[str, Any]:
    """By its author."""
    note = notes.edit(session_name, note_id, caller(request), content=body.content)
    return notes.as_json([note])[0]


@router.delete(
    "/sessions/{slug:session_name}/notes/{int:note_id}", response={204: None, **REFUSALS}
)
def remove_note(request: HttpRequest, session_name: SessionName, note_id: Id) -> Status[None]:
    """By its author, or an administrator."""
    notes.remove(session_name, note_id, caller(request))
    return Status(204, None)


def _named(key: int | str) -> Agent:
    """The agent with this id, or this username. Raises AgentNotFound, AmbiguousAgent."""
    if isinstance(key, int):
        meant = Q(user_id=key)
    else:
        meant = Q(user__username=key)
        if key.isascii() and key.isdecimal() and int(key) <= MAX_ID:
            meant |= Q(user_id=int(key))
    found = list(Agent.objects.select_related("user").filter(meant)[:2])
    if not found:
        raise AgentNotFound
    if len(found) > 1:
        raise AmbiguousAgent
    return found[0]


def _if_accepted(agent: Agent, answered: TransferRequest) -> dict[str, Any] | None:
    """Who repeats the answer later on may have given the conversation away again."""
    if answered.state != TransferRequest.State.ACCEPTED:
        return None
    if answered.session.agent_id != agent.user_id:
        return None
    return states.of(agent, answered.session.name)
