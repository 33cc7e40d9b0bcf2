"""A real mail server, that can be away, refuse, and hang."""

import asyncio
import email
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.harness.ports import free_port
from tests.harness.waiting import wait_until


class MailServer:
    """On a port of its own, the same after each `start`. `received` has what it took."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[EmailMessage] = []
        # What comes instead of the next answers to RCPT and to the end of DATA.
        self.to_recipients: list[str] = []
        self.to_mails: list[str] = []
        # Called, in the server's thread, with what was taken before it is acknowledged.
        self.before_answer: Callable[[EmailMessage], None] = lambda _mail: None
        # How many were begun, of which it hangs on to as many as it is told to.
        self.begun = 0
        self.hang = 0
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        return self

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def wait_for(self, count: int, *, timeout: float = 30.0) -> list[EmailMessage]:
        """All it took, once these are as many."""
        what = f"{count} mails"
        wait_until(lambda: len(self.received) >= count, timeout=timeout, what=what)
        return list(self.received)

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if self.to_recipients:
            return self.to_recipients.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        self.begun += 1
        if self.hang:
            self.hang -= 1
            await asyncio.Event().wait()
        if self.to_mails:
            return self.to_mails.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        parsed = email.message_from_bytes(content, policy=default)
        assert isinstance(parsed, EmailMessage)
        # Whom it was really sent to, whatever its headers say.
        parsed["X-Recipients"] = ", ".join(envelope.rcpt_tos)
        self.before_answer(parsed)
        self.received.append(parsed)
        return "250 OK"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def text_of(mail: EmailMessage) -> str:
    """Its plain text."""
    part = mail.get_body(("plain",))
    assert part is not None
    text: str = part.get_content()
    return text.replace("\r\n", "\n")
