from django.urls import path

from ai_chatbot import streams, views
from sse import stream

urlpatterns = [
    path("", views.shop, name="shop"),
    path("chat/", views.chat, name="chat"),
    path("widget.js", views.widget, name="widget"),
    path("help/<slug:slug>/", views.article, name="article"),
]
# Under the API's prefix.
events = [
    path("sessions/<slug:session_name>/events", stream(streams.of_customer, named=False)),
]
