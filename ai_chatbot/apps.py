from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AiChatbotConfig(AppConfig):
    name = "ai_chatbot"
    verbose_name = _("AI chatbot")
