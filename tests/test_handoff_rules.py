"""A person is fetched by the admin's rules: by which one, when, and not again for the same."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from ai_chatbot import events, handoff_rules, replies
from ai_chatbot.conversation import handoff, verbs
from ai_chatbot.conversation.records import Cause
from ai_chatbot.handoff_rules import Given, Words
from ai_chatbot.models import (
    ChatSession,
    HandoffRule,
    Message,
    MessageFeedback,
    MessageRole,
    Priority,
    Reason,
    ReplyTurn,
    Severity,
    Status,
)
from ai_chatbot.models.handoffs import RULES_AT_MOST, WORD_CHARACTERS, WORDS_AT_MOST, words_of
from ai_chatbot.rules import is_frustrated
from tests.harness.waiting import wait_until
from tests.hubs import at_work
from tests.in_process import Visitor, browser, error_of, events_of, make_agent, make_session

Kind = HandoffRule.Kind


def session_of(name: str = "", **fields: Any) -> ChatSession:
    ChatSession.objects.filter(name=name or (name := make_session())).update(**fields)
    return ChatSession.objects.get(name=name)


def rule(kind: Kind, *, alone: bool = True, **fields: Any) -> HandoffRule:
    """The one rule there is, unless others are to stay."""
    if alone:
        HandoffRule.objects.all().delete()
    made = HandoffRule(
        **{"name": str(kind), "kind": kind, "code": f"by-{kind}", "threshold": 2} | fields
    )
    made.full_clean()
    made.save()
    return made


def answered(session: ChatSession, helpful: bool | None = None) -> Message:
    message = Message.objects.create(
        session=session, role=MessageRole.ASSISTANT, content="an answer"
    )
    if helpful is not None:
        MessageFeedback.objects.create(message=message, helpful=helpful)
    return message


def failed(session: ChatSession, state: str = ReplyTurn.State.FAILED) -> None:
    question = Message.objects.create(session=session, role=MessageRole.USER, content="?")
    ReplyTurn.objects.create(
        session=session,
        question=question,
        ownership_epoch=session.ownership_epoch,
        state=state,
        finished_at=timezone.now(),
    )


# --- Words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        ("refund", "I want a REFUND!", "refund"),
        ("refund", "refunds, refunded, prerefund, re-fund", ""),
        ("Money Back", "my money\n  back, please", "money back"),
        ("c++", "is it c++?", "c++"),
        ("a.b|c*", "a.b|c*", "a.b|c*"),
        ("a.b", "axb", ""),
        ("(((", "(((", "((("),
        ("!!!", "help!!!", "!!!"),
        ("straße", "STRASSE", "strasse"),
        ("caf\u00e9", "the cafe\u0301 is closed", "caf\u00e9"),
        ("cafe", "the cafe\u0301 is closed", ""),
        ("жалоба", "это жалоба!", "жалоба"),
        ("жалоба", "жалобами", ""),
        ("投诉", "我要投诉你们", "投诉"),
        ("ｖｉｐ", "i am a VIP", "vip"),
        ("don't", "I don’t", "don't"),
        ("refund\nrefund now", "a refund now", "refund now"),
        ("lawyer\n律师", "找律师", "律师"),
    ],
)
def test_words_are_found(words: str, text: str, found: str) -> None:
    """Whole ones where the script parts words; nothing in them is a pattern."""
    assert Words(words_of(words)).found_in(text) == found


HOSTILE = [
    "a" * 100_000,
    "(a+)+$" * 17_000,
    "refun" * 20_000,
    "\\" * 100_000,
    "[" * 100_000,
    "\ufdfa" * 100_000,
    "a\u0344\u0315\u0327" * 30_000,
    "\ud800" * 100_000,
    "\x00" * 100_000,
    "你真是" * 33_000,
    "这个个个" * 25_000,
    "you stupid " * 9_000,
    "this is so very " * 6_000,
    "一点" * 50_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: f"{text[:6]!a}x{len(text)}")
def test_hostile_texts_are_read_to_their_end(text: str) -> None:
    words = Words([f"{'a' * 50}{number}" for number in range(WORDS_AT_MOST)])
    began = time.process_time()
    assert words.found_in(text) == ""
    is_frustrated(text)
    # A pattern that tries again would take hours; this takes milliseconds.
    assert time.process_time() - began < 5


@given(st.text(max_size=WORD_CHARACTERS), st.text())
def test_any_word_can_be_looked_for_in_any_text(word: str, text: str) -> None:
    try:
        words = words_of(word)
    except ValidationError:
        return
    look = Words(words)
    look.found_in(text)
    assert look.found_in(f"x {words[0]} y")


@pytest.mark.parametrize(
    "words",
    ["", " \n \n", "x" * (WORD_CHARACTERS + 1), "\n".join(map(str, range(WORDS_AT_MOST + 1)))],
    ids=["none", "blank", "too long", "too many"],
)
def test_words_out_of_bounds_are_refused_with_the_field_named(words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        HandoffRule(name="x", kind=Kind.KEYWORDS, code="x", words=words).clean()
    assert list(refused.value.message_dict) == ["words"]


@pytest.mark.django_db
def test_rules_beyond_the_most_are_refused() -> None:
    HandoffRule.objects.all().delete()
    HandoffRule.objects.bulk_create(
        [HandoffRule(name="x", kind=Kind.VIP, code="x") for _ in range(RULES_AT_MOST)]
    )
    with pytest.raises(ValidationError):
        HandoffRule(name="x", kind=Kind.VIP, code="x").full_clean()
    HandoffRule.objects.all()[0].full_clean()


# --- Frustration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "This is useless!", "You are useless", "this bot is so stupid", "useless bot",
        "That was not helpful", "you're not helping", "That didn't help",
        "you didn't answer my question", "I'm fed up with this", "I am really angry", "WTF",
        "you idiot", "This is a joke", "you don’t understand me", "烦死了", "气死我了", "没用",
        "真没用", "你太没用了！", "一点用都没有", "说了也没用", "垃圾客服", "太垃圾了",
        "答非所问", "浪费我的时间", "你是智障吗", "什么破机器人", "受够了", "你们真是废物",
    ],
)  # fmt: skip
def test_frustration_is_recognised(text: str) -> None:
    assert is_frustrated(text)


@pytest.mark.parametrize(
    "text",
    [
        "Is the lamp useless outdoors?", "How long does delivery take???",
        "WHERE IS MY ORDER", "is this helpful for roses?", "I am not angry",
        "This may be a stupid question, but can I pay later?", "Can you help me?",
        "the manual says it does not help roses grow", "machine learning",
        "我没用过这个", "我没用优惠券", "垃圾桶多少钱", "滚筒洗衣机", "有智障人士优惠吗",
        "我妈妈的生日", "这个没用完可以退吗", "没有用户名怎么办",
    ],
)  # fmt: skip
def test_what_only_sounds_like_it_is_none(text: str) -> None:
    assert not is_frustrated(text)


# --- Which rule decides ----------------------------------------------------------------------


def test_migrated_rules_are_those_that_count_where_there_are_none() -> None:
    migration = importlib.import_module("ai_chatbot.migrations.0008_handoff_rules")
    rows = [HandoffRule(**row) for row in migration.RULES]
    fields = [field.name for field in HandoffRule._meta.fields if field.name != "id"]

    def plainly(rules: Any) -> list[list[Any]]:
        return [[getattr(each, field) for field in fields] for each in rules]

    assert plainly(rows) == plainly(handoff_rules.DEFAULTS)


@pytest.mark.django_db
def test_without_a_row_the_code_has_rules_and_a_switched_off_row_is_none() -> None:
    session = session_of()
    HandoffRule.objects.all().delete()
    cause = handoff_rules.decide(session, "I want to talk to a human")
    assert cause is not None
    assert (cause.reason, cause.code) == (Reason.RULE, "explicit_request")
    rule(Kind.REQUEST, active=False)
    assert handoff_rules.decide(session, "I want to talk to a human") is None


@pytest.mark.django_db
def test_first_rule_in_order_decides_and_says_what_matched() -> None:
    session = session_of()
    rule(Kind.KEYWORDS, words="human", order=2, code="second")
    rule(
        Kind.KEYWORDS, words="lawyer\nhuman", order=1, code="first", name="Law", alone=False,
        severity=Severity.HIGH, priority=Priority.URGENT, skills=["legal"],
    )  # fmt: skip
    assert handoff_rules.decide(session, "My LAWYER is human") == Cause(
        Reason.RULE,
        "Law: lawyer",
        code="first",
        severity=Severity.HIGH,
        priority=Priority.URGENT,
        skills=("legal",),
        unasked=True,
    )
    assert handoff_rules.decide(session, "nothing of it") is None


@pytest.mark.django_db
def test_a_rule_of_another_language_is_silent() -> None:
    rule(Kind.KEYWORDS, words="投诉", language="zh-hans")
    assert handoff_rules.decide(session_of(), "投诉") is None
    chinese = session_of(make_session(language="zh-hans"))
    assert handoff_rules.decide(chinese, "我要投诉") is not None


@pytest.mark.django_db
def test_changed_rules_count_at_once_and_unchanged_ones_cost_one_query(
    django_assert_num_queries: Any,
) -> None:
    """Nothing but the database tells of the change, so it may as well be another process."""
    session = session_of()
    made = rule(Kind.KEYWORDS, words="lawyer")
    assert handoff_rules.decide(session, "lawyer") is not None
    HandoffRule.objects.filter(pk=made.pk).update(words="solicitor")
    assert handoff_rules.decide(session, "lawyer") is None
    with django_assert_num_queries(1):
        assert handoff_rules.decide(session, "solicitor") is not None
    HandoffRule.objects.filter(pk=made.pk).update(active=False)
    assert handoff_rules.decide(session, "solicitor") is None


@pytest.mark.django_db
def test_a_row_that_nobody_could_have_saved_does_no_harm() -> None:
    session = session_of()
    made = rule(Kind.KEYWORDS, words="lawyer")
    HandoffRule.objects.filter(pk=made.pk).update(
        words="\n".join("(" * 200 + str(n) for n in range(1000)) + "\nlawyer",
        threshold=1, severity="?", priority=99, skills={"a": 1},
    )  # fmt: skip
    assert handoff_rules.decide(session, "lawyer") is None
    HandoffRule.objects.filter(pk=made.pk).update(words="lawyer")
    cause = handoff_rules.decide(session, "lawyer")
    assert cause is not None
    assert (cause.severity, cause.priority, cause.skills) == ("medium", Priority.NORMAL, ())


@pytest.mark.django_db
def test_vip_is_what_the_shop_says_with_a_true() -> None:
    for said, vip in ((True, True), (False, False), ("true", False), (1, False), (None, False)):
        session, _ = verbs.begin(nickname="", email="", language="en", metadata={"vip": said})
        assert session.vip is vip


# --- Not again for the same ------------------------------------------------------------------


def there_and_back(session: ChatSession) -> ChatSession:
    """In line, and back to the AI."""
    handoff.escalate(session.name)
    handoff.cancel_escalation(session.name)
    return session_of(session.name)


@pytest.mark.django_db
def test_a_vip_is_sent_to_a_person_once() -> None:
    make_agent()
    rule(Kind.VIP)
    session = session_of(vip=True)
    assert handoff_rules.decide(session, "hello") is not None
    assert handoff_rules.decide(there_and_back(session), "hello") is None


@pytest.mark.django_db
def test_only_failures_since_the_last_handoff_count() -> None:
    make_agent()
    rule(Kind.FAILURES)
    session = session_of()
    failed(session)
    assert handoff_rules.decide(session, "hello") is None
    failed(session)
    cause = handoff_rules.decide(session, "hello")
    assert cause is not None
    assert (cause.reason, cause.text) == (Reason.REPLY_FAILED, "failures: 2")
    session = there_and_back(session)
    assert handoff_rules.decide(session, "hello") is None
    failed(session)
    assert handoff_rules.decide(session, "hello") is None
    failed(session)
    assert handoff_rules.decide(session, "hello") is not None
    failed(session, ReplyTurn.State.DONE)
    assert handoff_rules.decide(session, "hello") is None


@pytest.mark.django_db
def test_only_thumbs_down_since_the_last_handoff_count() -> None:
    make_agent()
    rule(Kind.THUMBS_DOWN)
    session = session_of()
    answered(session, helpful=False)
    assert handoff_rules.decide(session, "hello") is None
    answered(session, helpful=False)
    assert handoff_rules.decide(session, "hello") is not None
    session = there_and_back(session)
    assert handoff_rules.decide(session, "hello") is None
    answered(session, helpful=False)
    assert handoff_rules.decide(session, "hello") is None
    answered(session, helpful=False)
    assert handoff_rules.decide(session, "hello") is not None
    answered(session, helpful=True)
    assert handoff_rules.decide(session, "hello") is None


@pytest.mark.django_db
def test_while_a_person_has_been_asked_for_only_what_is_written_counts() -> None:
    """By email, where the AI goes on answering."""
    rule(Kind.VIP)
    rule(Kind.FAILURES, alone=False)
    rule(Kind.THUMBS_DOWN, alone=False)
    rule(Kind.REQUEST, alone=False)
    session = session_of(vip=True)
    handoff.escalate(session.name)
    session = session_of(session.name)
    assert session.status == Status.AFTER_HOURS_EMAIL
    for _ in range(3):
        failed(session)
        answered(session, helpful=False)
    assert handoff_rules.decide(session, "hello") is None
    assert handoff_rules.decide(session, "a human, please") is not None


# --- In the conversation ---------------------------------------------------------------------


@pytest.fixture
def runner(settings: Any) -> Iterator[None]:
    """The AI's turns are answered in this process."""
    settings.AI_BACKEND = "scripted"
    with at_work(replies.keep_answering) as hub:
        yield
        # What a turn's end announces must not meet a hub that is gone.
        wait_until(lambda: not replies._running(hub.loop), what="the last turn to be over")


def ask(name: str, text: str, status: Status) -> ChatSession:
    verbs.write(name, content=text, client_id=text)
    wait_until(
        lambda: (
            not ReplyTurn.objects.filter(
                session__name=name, state__in=["waiting", "running"]
            ).exists()
        ),
        what="the end of the turn",
    )
    session = ChatSession.objects.get(name=name)
    assert session.status == status
    return session


def system_lines(session: ChatSession) -> list[str]:
    lines = session.messages.filter(role=MessageRole.SYSTEM)
    return list(lines.values_list("content", flat=True))


@pytest.mark.usefixtures("runner")
@pytest.mark.django_db(transaction=True)
def test_keyword_fetches_a_person_who_reads_why_and_the_customer_does_not() -> None:
    make_agent()
    rule(
        Kind.KEYWORDS, words="lawyer", name="SECRET-NAME", severity=Severity.HIGH,
        priority=Priority.HIGH, skills=["legal"], code="legal",
    )  # fmt: skip
    session = ask(make_session(), "I call my lawyer", Status.PENDING_MANUAL)
    assert (session.priority, session.skills) == (Priority.HIGH, ["legal"])
    record = session.handoffs.get()
    assert (record.code, record.severity) == ("legal", "high")
    assert record.text == "SECRET-NAME: lawyer"
    assert system_lines(session)[0] == "I am asking a person from our team to help you."
    assert "SECRET" not in str(events_of(session.name))
    assert events_of(session.name, "status_change")[0]["payload"]["reason"] == "rule"


@pytest.mark.usefixtures("runner")
@pytest.mark.django_db(transaction=True)
def test_rules_count_after_hours_and_the_ai_goes_on() -> None:
    rule(Kind.KEYWORDS, words="lawyer")
    rule(Kind.FRUSTRATION, alone=False)
    name = make_session()
    ask(name, "I call my lawyer", Status.AFTER_HOURS_EMAIL)
    session = ask(name, "This is useless", Status.AFTER_HOURS_EMAIL)
    said = system_lines(session)
    assert len([line for line in said if line.startswith("Nobody from our team")]) == 2
    ask(name, "How long does delivery take?", Status.AFTER_HOURS_EMAIL)
    assert session.messages.last().role == MessageRole.ASSISTANT
    make_agent()
    ask(name, "my lawyer is here", Status.PENDING_MANUAL)


@pytest.mark.usefixtures("runner")
@pytest.mark.django_db(transaction=True)
def test_failures_are_tolerated_as_the_rule_has_it() -> None:
    make_agent()
    name = make_session()
    rule(Kind.FAILURES, threshold=3, code="three")
    ask(name, "fail: timeout", Status.BOT_ACTIVE)
    ask(name, "fail: refused", Status.BOT_ACTIVE)
    session = ask(name, "fail: cut", Status.PENDING_MANUAL)
    assert session.handoffs.get().code == "three"
    handoff.cancel_escalation(name)
    # Those three are forgiven.
    ask(name, "fail: unavailable", Status.BOT_ACTIVE)


@pytest.mark.django_db(transaction=True)
def test_old_thumbs_down_of_before_the_handoff_are_older_than_its_end() -> None:
    make_agent()
    rule(Kind.THUMBS_DOWN, threshold=1)
    session = session_of()
    message = answered(session, helpful=False)
    session = there_and_back(session)
    MessageFeedback.objects.filter(message=message).update(
        updated_at=timezone.now() + timedelta(seconds=1)
    )
    assert handoff_rules.decide(session, "hello") is not None


# --- Tried out -------------------------------------------------------------------------------


@pytest.mark.django_db
def test_explanation_names_every_active_rule_and_the_one_that_decides() -> None:
    rule(Kind.KEYWORDS, words="lawyer", order=1, name="Law")
    rule(Kind.VIP, order=2, alone=False)
    rule(Kind.KEYWORDS, words="律师", order=3, alone=False, language="zh-hans")
    rule(Kind.FAILURES, order=4, alone=False)
    rule(Kind.REQUEST, order=5, alone=False, active=False)
    trials = handoff_rules.explain(Given("a lawyer", "en", vip=True, failures=1))
    assert [
        (trial.rule.name, trial.is_for_language, trial.what, trial.decides) for trial in trials
    ] == [
        ("Law", True, "lawyer", True),
        ("vip", True, "", False),
        ("keywords", False, None, False),
        ("failures", True, None, False),
    ]


# --- Feedback --------------------------------------------------------------------------------


@pytest.fixture
def visitor(db: None) -> Visitor:
    return Visitor()


def judge(visitor: Visitor, message: Message, body: Any) -> Any:
    return visitor.post(visitor.at(f"/messages/{message.pk}/feedback"), body)


def feedback_told(visitor: Visitor) -> list[Any]:
    told = events_of(events.internal_target(visitor.session), "reply_feedback")
    return [event["payload"]["helpful"] for event in told]


@pytest.mark.django_db
def test_an_answer_is_judged_and_judged_anew(visitor: Visitor) -> None:
    HandoffRule.objects.update(active=False)
    message = answered(session_of(visitor.session))
    assert visitor.state()["messages"][0]["feedback"] is None
    first = judge(visitor, message, {"helpful": False, "comment": "SECRET"})
    assert first.status_code == 200
    assert first.json()["feedback"] is False
    assert visitor.state()["messages"] == [first.json()]
    # The same again is no news, and a comment may come later or go.
    for body in ({"helpful": False}, {"helpful": False, "comment": "CHANGED"}):
        assert judge(visitor, message, body).status_code == 200
    stored = MessageFeedback.objects.get()
    assert (stored.helpful, stored.comment) == (False, "CHANGED")
    assert judge(visitor, message, {"helpful": True}).json()["feedback"] is True
    stored.refresh_from_db()
    assert (stored.helpful, stored.comment) == (True, "")
    page = visitor.get(visitor.at("/messages")).json()
    assert page["items"][0]["feedback"] is True
    assert feedback_told(visitor) == [False, True]
    assert not events_of(visitor.session)


@pytest.mark.django_db
def test_a_later_comment_does_not_make_an_old_judgement_new(visitor: Visitor) -> None:
    make_agent()
    rule(Kind.THUMBS_DOWN, threshold=1)
    message = answered(session_of(visitor.session))
    judge(visitor, message, {"helpful": False})
    visitor.delete(visitor.at("/escalate"))
    judge(visitor, message, {"helpful": False, "comment": "because"})
    assert handoff_rules.decide(session_of(visitor.session), "hello") is None


@pytest.mark.parametrize(
    "body",
    [{}, {"helpful": "yes"}, {"helpful": 1}, {"helpful": None}, [], "x",
     {"helpful": True, "comment": "x" * 1001}, {"helpful": True, "comment": "\x00"},
     {"helpful": True, "comment": 7}],
    ids=repr,
)  # fmt: skip
@pytest.mark.django_db
def test_bad_feedback_is_refused(visitor: Visitor, body: Any) -> None:
    message = answered(session_of(visitor.session))
    error_of(judge(visitor, message, body), 422)
    assert not MessageFeedback.objects.exists()


@pytest.mark.django_db
def test_only_answers_of_the_own_session_are_judged(visitor: Visitor) -> None:
    session, helpful = session_of(visitor.session), {"helpful": True}
    for role in (MessageRole.USER, MessageRole.SYSTEM):
        said = Message.objects.create(session=session, role=role, content="x")
        error_of(judge(visitor, said, helpful), 409, "NOT_AN_ANSWER")
    by_agent = Message.objects.create(
        session=session, role=MessageRole.AGENT, content="x", agent=make_agent().user
    )
    error_of(judge(visitor, by_agent, helpful), 409, "NOT_AN_ANSWER")
    error_of(judge(visitor, answered(session_of()), helpful), 404, "MESSAGE_NOT_FOUND")
    for number in ("0", str(2**63 - 1)):
        path = visitor.at(f"/messages/{number}/feedback")
        error_of(visitor.post(path, helpful), 404, "MESSAGE_NOT_FOUND")
    for number in ("-1", str(2**63), "x", "1.5"):
        error_of(visitor.post(visitor.at(f"/messages/{number}/feedback"), helpful), 422)
    assert not MessageFeedback.objects.exists()


@pytest.mark.django_db
def test_second_thumbs_down_fetches_a_person_at_once_and_says_so(visitor: Visitor) -> None:
    make_agent()
    rule(Kind.THUMBS_DOWN, code="not_helpful")
    session = session_of(visitor.session)
    first, second = answered(session), answered(session)
    judge(visitor, first, {"helpful": False})
    assert visitor.state()["status"] == "bot_active"
    judge(visitor, second, {"helpful": False, "comment": "SECRET"})
    assert visitor.state()["status"] == "pending_manual"
    (change,) = events_of(session.name, "status_change")
    assert change["payload"]["reason"] == "rule"
    assert "asking a person" in system_lines(session)[0]
    assert session.handoffs.get().code == "not_helpful"
    assert "SECRET" not in str(events_of(session.name))
    # What was judged before does not send the customer there again.
    visitor.delete(visitor.at("/escalate"))
    judge(visitor, second, {"helpful": True})
    judge(visitor, second, {"helpful": False})
    assert visitor.state()["status"] == "bot_active"


@pytest.mark.django_db
def test_a_closed_conversation_is_judged_and_stays_closed(visitor: Visitor) -> None:
    rule(Kind.THUMBS_DOWN, threshold=1)
    message = answered(session_of(visitor.session))
    visitor.post(visitor.at("/close"))
    assert judge(visitor, message, {"helpful": False}).status_code == 200
    assert visitor.state()["status"] == "closed"
    assert feedback_told(visitor) == [False]


# --- The admin -------------------------------------------------------------------------------

TRY = "/admin/ai_chatbot/handoffrule/try/"
LIST = "/admin/ai_chatbot/handoffrule/"
NOTHING = {"text": "", "language": "en", "failures": "0", "thumbs_down": "0"}


def staff(*permissions: str, **flags: bool) -> Client:
    user = get_user_model().objects.create(username="staff", is_staff=True, **flags)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = browser()
    client.force_login(user)
    return client


def outcomes(page: Any) -> dict[str, list[str]]:
    rows = re.findall(r'<tr data-rule="([^"]*)">(.*?)</tr>', page.content.decode(), re.DOTALL)
    return {
        name: [
            " ".join(re.sub(r"<[^>]+>", "", cell).split())
            for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)
        ]
        for name, row in rows
    }


@pytest.mark.django_db
def test_tester_says_which_rule_decides_and_why() -> None:
    rule(Kind.KEYWORDS, words="lawyer", order=1, name="<b>Law</b>", skills=["legal"])
    rule(Kind.VIP, order=2, alone=False)
    rule(Kind.KEYWORDS, words="律师", order=3, alone=False, language="zh-hans")
    rule(Kind.FAILURES, order=4, alone=False)
    site = staff("view_handoffrule")
    assert TRY in site.get(LIST).content.decode()
    assert outcomes(site.get(TRY)) == {}
    page = site.post(TRY, NOTHING | {"text": "My <i>LAWYER</i>", "vip": "on", "failures": "1"})
    assert outcomes(page) == {
        "&lt;b&gt;Law&lt;/b&gt;": ["A word or phrase", "decides", "lawyer"],
        "vip": ["The customer is a VIP", "fits too, after the one that decides", ""],
        "keywords": ["A word or phrase", "only for another language", ""],
        "failures": ["Answers failed, one after the other", "does not fit", ""],
    }
    assert "<i>" not in page.content.decode()
    assert "No rule fetches a person" in site.post(TRY, NOTHING).content.decode()
    assert not ChatSession.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [{"text": "x" * 100_000}, {"language": "xx"}, {"failures": "-1"}, {"failures": "many"},
     {"thumbs_down": "1" * 4000}, {"text": "\x00"}],
    ids=lambda wrong: repr(wrong)[:30],
)  # fmt: skip
@pytest.mark.django_db
def test_tester_names_what_it_cannot_try(wrong: dict[str, str]) -> None:
    page = staff(is_superuser=True).post(TRY, NOTHING | wrong)
    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    assert outcomes(page) == {}


@pytest.mark.parametrize(
    "text", ["(a+)+$" * 600, "[" * 4000, "\ufdfa" * 4000, "\\", "😡" * 4000]
)
@pytest.mark.django_db
def test_tester_bears_hostile_texts(text: str) -> None:
    page = staff(is_superuser=True).post(TRY, NOTHING | {"text": text})
    assert len(outcomes(page)) == len(handoff_rules.DEFAULTS)


@pytest.mark.django_db
def test_tester_is_for_who_may_see_the_rules() -> None:
    assert staff("view_article").get(TRY).status_code == 403
    anonymous = browser().get(TRY)
    assert (anonymous.status_code, anonymous["Location"]) == (
        302,
        f"/admin/login/?next={TRY}",
    )


@pytest.mark.django_db
def test_tester_asks_for_the_forms_own_token() -> None:
    strict = browser(enforce_csrf_checks=True)
    strict.force_login(get_user_model().objects.create_superuser("root"))
    assert strict.post(TRY, NOTHING).status_code == 403


FORM = {
    "name": "Law", "active": "on", "order": "1", "kind": "keywords", "words": "lawyer\r\n律师",
    "threshold": "2", "language": "", "code": "legal", "severity": "high", "priority": "3",
    "skills": "legal, german ,legal",
}  # fmt: skip


@pytest.mark.django_db
def test_rule_is_added_and_counts() -> None:
    site = staff(is_superuser=True)
    assert site.post(f"{LIST}add/", FORM).status_code == 302
    cause = handoff_rules.decide(session_of(), "my lawyer")
    assert cause is not None
    assert (cause.code, cause.priority, cause.skills) == ("legal", 3, ("legal", "german"))
    page = site.get(f"{LIST}{HandoffRule.objects.get(code='legal').pk}/change/")
    assert 'value="legal, german"' in page.content.decode()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"words": ""}, "Name at least one word or phrase"),
        ({"words": "\n".join(map(str, range(201)))}, "201 words and phrases are too many"),
        ({"words": "x" * 61}, "too long; a word or phrase has 60"),
        ({"threshold": "0"}, "From 1 to 20"),
        ({"threshold": "21"}, "From 1 to 20"),
        ({"skills": ",".join(map(str, range(11)))}, "At most 10 skills"),
        ({"language": "xx"}, "not one of the available choices"),
        ({"code": "two words"}, "valid “slug”"),
    ],
)
@pytest.mark.django_db
def test_rule_that_cannot_be_is_refused_and_says_why(wrong: dict[str, str], says: str) -> None:
    page = staff(is_superuser=True).post(f"{LIST}add/", FORM | wrong)
    assert page.status_code == 200
    assert says in unescape(page.content.decode())
    assert not HandoffRule.objects.filter(name="Law").exists()


@pytest.mark.django_db
def test_rules_are_put_in_order_in_the_list() -> None:
    site = staff(is_superuser=True)
    made = rule(Kind.KEYWORDS, words="lawyer")
    form = {
        "form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": made.pk,
        "form-0-order": "7", "_save": "Save",
    }  # fmt: skip
    assert site.post(LIST, form).status_code == 302
    made.refresh_from_db()
    assert (made.order, made.active) == (7, False)
    # One that came about in another way is named, and no error of ours.
    HandoffRule.objects.update(words="")
    page = site.post(LIST, form | {"form-0-active": "on"})
    assert page.status_code == 200
    assert "Name at least one word or phrase" in page.content.decode()
