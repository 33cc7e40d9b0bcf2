from django.urls import path

from ai_chatbot import views

urlpatterns = [
    path("", views.shop, name="shop"),
    path("chat/", views.chat, name="chat"),
    path("widget.js", views.widget, name="widget"),
    path("help/<slug:slug>/", views.article, name="article"),
]
