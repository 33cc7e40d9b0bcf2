"""The agents' HTTP API: who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router
from pydantic import AwareDatetime

from agent_workbench import access
from agent_workbench.authentication import AgentCookie, AgentToken, caller
from agent_workbench.schemas import AuditPage
from ai_chatbot.api import MAX_ID, REFUSALS
from ai_chatbot.conversation import audit

router = Router(tags=["agent"], auth=[AgentToken(), AgentCookie()])

# Times that every database can hold in every zone.
Time = Annotated[
    AwareDatetime | None,
    Query(ge=datetime(1900, 1, 1, tzinfo=UTC), le=datetime(9000, 1, 1, tzinfo=UTC)),
]
Key = Annotated[int | None, Query(ge=0, le=MAX_ID)]


@router.get("/audit", response={200: AuditPage, **REFUSALS})
def entries(
    request: HttpRequest,
    action: Annotated[str, Query(pattern=r"^[a-z_]{0,30}$")] = "",
    actor: Key = None,
    session: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = "",
    since: Time = None,
    until: Time = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Key = None,
) -> dict[str, Any]:
    """The audit log, the latest first. For administrators.

    `actor` is a user's id, `session` a session's name; `since` is counted in, `until` is not.
    """
    access.check_administrates(caller(request))
    return audit.page(
        action=action,
        actor=actor,
        session=session,
        since=since,
        until=until,
        before=cursor,
        limit=limit,
    )
