"""What the documents list is what there is."""

import re

from tests.harness.environment import ROOT, setting_names


def test_every_setting_is_in_env_example() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    documented = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))
    assert len(setting_names()) > 20
    assert documented == setting_names()


def test_every_event_is_in_the_events_document() -> None:
    documented = set(
        re.findall(r"^\| (\w+)", (ROOT / "docs/events.md").read_text(), re.MULTILINE)
    )
    sent = set()
    for app in ("ai_chatbot", "agent_workbench"):
        for path in (ROOT / app).glob("*.py"):
            sent |= set(
                re.findall(r'"type": "(\w+)", "payload"|"type": "(\w+)",\n', path.read_text())
            )
    names = {name for pair in sent for name in pair if name}
    assert {"message", "status_change", "presence"} <= names
    assert names <= documented
