"""Run by Django's test runner inside the documents' project: every recipe does what it says."""

import json

from asgiref.sync import async_to_sync
from chat import tasks
from chat.members import remove_member
from chat.models import Message, Room
from chat.rows import send_row
from django.contrib.auth.models import User
from django.test import TestCase
from django.urls import reverse
from rest_framework.authtoken.models import Token

from sse.test import StreamCommunicator, capture_events


class RecipeTests(TestCase):
    def setUp(self):
        self.ann = User.objects.create_user("ann")
        self.room = Room.objects.create(slug="42")
        self.room.members.add(self.ann)
        self.client.force_login(self.ann)

    def test_htmx(self):
        message = Message.objects.create(room=self.room, text="a & b")
        with capture_events() as events:
            send_row(message)
        (event,) = events
        assert event.name == "row"
        assert event.data.strip() == f'<li id="row-{message.pk}">a &amp; b</li>'

    def test_ninja(self):
        with capture_events() as events:
            answer = self.client.post(
                "/api/rooms/42/messages", {"text": "hello"}, content_type="application/json"
            )
        assert answer.status_code == 201
        (event,) = events
        assert (event.channel, event.data) == ("room-42", answer.json())
        self.client.logout()
        assert self.client.post("/api/rooms/42/messages").status_code == 401

    def test_rest_framework(self):
        with capture_events() as events:
            answer = self.client.post("/rest/42/messages/", {"text": "hello"})
        assert answer.status_code == 201
        (event,) = events
        assert event.data == answer.json()

    def test_rest_framework_tokens_open_streams(self):
        token = Token.objects.create(user=self.ann).key
        for header, status in ((f"Bearer {token}", 200), ("Bearer wrong", 401), ("", 401)):
            with self.subTest(header=header):
                assert async_to_sync(status_of)("/rest/42/events/", header) == status

    def test_on_save(self):
        with capture_events() as events:
            room = Room.objects.create(slug="43")
            room.save()
        assert [(event.channel, event.name, event.data) for event in events] == [
            ("rooms", "added", {"slug": "43"}),
            ("rooms", "changed", {"slug": "43"}),
        ]

    def test_celery(self):
        with capture_events() as events:
            tasks.export.apply(args=["42"], throw=True)
        assert [each.name for each in events] == ["progress"] * 3 + ["exported"]
        assert [each.durable for each in events] == [False] * 3 + [True]

    def test_presence(self):
        answer = self.client.get(reverse("here", args=["42"]))
        assert json.loads(answer.content) == {"here": []}

    def test_losing_rights(self):
        remove_member(self.room, self.ann)
        assert not self.room.members.exists()


async def status_of(path, authorization):
    async with StreamCommunicator(path, headers={"Authorization": authorization}) as stream:
        return stream.response.status
