"""Fixtures of people: a customer, agents, and a session that one of them has.

A module with a fixture of one of these names has its own."""

import pytest

from agent_workbench.models import Role
from ai_chatbot.conversation import handoff
from tests.in_process import Colleague, Visitor, make_agent


@pytest.fixture
def alice() -> Colleague:
    return Colleague(make_agent("alice"))


@pytest.fixture
def bob() -> Colleague:
    return Colleague(make_agent("bob"))


@pytest.fixture
def carol() -> Colleague:
    return Colleague(make_agent("carol"))


@pytest.fixture
def chief() -> Colleague:
    return Colleague(make_agent("chief", role=Role.SUPERVISOR))


@pytest.fixture
def visitor() -> Visitor:
    return Visitor()


@pytest.fixture
def live(visitor: Visitor, alice: Colleague) -> str:
    """A session that alice has."""
    handoff.take_over(visitor.session, alice.agent.person)
    return visitor.session
