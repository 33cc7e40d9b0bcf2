from django.contrib.auth.views import LogoutView
from django.urls import path

from agent_workbench import views

urlpatterns = [
    path("", views.console, name="workbench"),
    path("login/", views.Login.as_view(), name="workbench-login"),
    path("logout/", LogoutView.as_view(), name="workbench-logout"),
]
