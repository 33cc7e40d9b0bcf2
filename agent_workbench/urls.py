from django.contrib.auth.views import LogoutView
from django.urls import path

from agent_workbench import streams, views
from sse import stream

urlpatterns = [
    path("", views.console, name="workbench"),
    path("login/", views.Login.as_view(), name="workbench-login"),
    path("logout/", LogoutView.as_view(), name="workbench-logout"),
]
# Under the API's prefixes.
events = [
    path("agent/events", stream(streams.of_agent, named=False)),
    path("sessions/<slug:session_name>/events", stream(streams.of_session, named=False)),
]
