"""The one place that reads the environment. Every name is documented in .env.example."""

import hashlib
import logging
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

BASE_DIR = Path(__file__).resolve().parent.parent


class Environment(environ.Env):  # type: ignore[misc] # has no types
    """Names the setting whose value cannot be read."""

    # The empty one turns off what is on by default, too.
    BOOLEAN_FALSE_STRINGS = ("false", "off", "n", "no", "0", "")

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var} is set to what it cannot be: {error}") from error

    @classmethod
    def parse_value(cls, value: Any, cast: Any) -> Any:
        """What is neither true nor false would count as false."""
        known = (*cls.BOOLEAN_TRUE_STRINGS, *cls.BOOLEAN_FALSE_STRINGS)
        if cast is bool and value.strip().lower() not in known:
            raise ValueError(f"{value!r} is neither true nor false")
        return super().parse_value(value, cast)


env = Environment()
ENV_FILE: str = env.path("ENV_FILE", default=str(BASE_DIR / ".env"))()
# It would be said without the file's name and with what may be secret; see config.env_file.
logging.getLogger("environ.environ").addFilter(lambda record: record.msg != "Invalid line: %s")
env.read_env(ENV_FILE)

# --- What this process is ---------------------------------------------------------------

VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text("utf-8"))["project"][
    "version"
]

SERVICES = ("all", "ai_chatbot", "agent_workbench")
SERVICE = env.str("SERVICE", default="all")
SERVES_CHATBOT = SERVICE in ("all", "ai_chatbot")
SERVES_WORKBENCH = SERVICE in ("all", "agent_workbench")

DEBUG = env.bool("DEBUG", default=False)
# The demo: its shop at /, and agents whose password is the one that seed_demo prints.
DEMO = env.bool("DEMO", default=False)
TESTING = "pytest" in sys.modules

SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set and DEBUG is false. Put a long random SECRET_KEY in the "
            "environment or in .env (`make run` generates one), or set DEBUG=true on a "
            "development machine."
        )
    SECRET_KEY = "insecure-key-for-debug-mode-only-never-used-when-debug-is-false"  # noqa: S105

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/(api|widget\.js|static)(/|$)"

# --- Applications -----------------------------------------------------------------------

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "corsheaders",
    "csp",
    "ninja",
    "sse",
    "ai_chatbot",
    "agent_workbench",
    "config",
]

MIDDLEWARE = [
    # First, so that a shop's page may read errors too.
    "corsheaders.middleware.CorsMiddleware",
    "csp.middleware.CSPMiddleware",
    "config.errors.JsonErrors",
    "config.bodies.JsonBodies",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
CSRF_FAILURE_VIEW = "config.errors.csrf_failure"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database ---------------------------------------------------------------------------

# Connections of this process at the most, those of SSE_DATABASE_THREADS included.
DATABASE_POOL_MAX = env.int("DATABASE_POOL_MAX", default=20)
# Threads with a connection each that serve streams and the AI; what hangs in one purpose leaves
# the others alone. "log" reads events, "access" asks who may open a stream, "watch" writes the
# process's sign of life, "work" is the AI's, "rounds" looks after who waits for a person,
# "chores" and "pruning" are what nobody waits for.
SSE_DATABASE_THREADS = {
    "log": 2,
    "access": 2,
    "watch": 1,
    "work": 3,
    "rounds": 1,
    "chores": 1,
    "pruning": 1,
}
# In a process that serves (see docs/operations.md, "When the database is slow or away"): the
# longest statement, the longest wait for a lock, both enforced by the server and 0 for what it
# has itself; and how long a request waits for the database in all.
DATABASE_STATEMENT_SECONDS = env.float("DATABASE_STATEMENT_SECONDS", default=8.0)
DATABASE_LOCK_SECONDS = env.float("DATABASE_LOCK_SECONDS", default=5.0)
DATABASE_DEADLINE_SECONDS = env.float("DATABASE_DEADLINE_SECONDS", default=10.0)
# What asks for a stream or an answer of the AI waits so long, the wait for a thread included.
SSE_DATABASE_SECONDS = DATABASE_DEADLINE_SECONDS + 5

DATABASES = {
    "default": env.db_url("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE: a write transaction takes SQLite's one write lock when it begins, so that it
    # waits for its turn (timeout) instead of failing in the middle. WAL: readers never wait.
    _database.setdefault("OPTIONS", {}).update(
        transaction_mode="IMMEDIATE",
        # Of itself SQLite would not wait at all, and fail whenever two write.
        timeout=DATABASE_LOCK_SECONDS or 5.0,
        init_command=(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8000; "
            # Who commits when the WAL has so many pages waits for the disk: 16 MB, not 4.
            "PRAGMA wal_autocheckpoint=4000;"
        ),
    )
    # Threads and processes of the tests share the test database, so it is a file.
    _database["TEST"] = {"NAME": str(BASE_DIR / ".test.sqlite3")}
elif _database["ENGINE"] == "django.db.backends.postgresql":
    _database["ENGINE"] = "config.postgresql"
    _database.setdefault("OPTIONS", {}).update(
        pool={
            "min_size": env.int("DATABASE_POOL_MIN", default=1),
            "max_size": max(1, DATABASE_POOL_MAX - sum(SSE_DATABASE_THREADS.values())),
        },
        bounds={
            "statement": DATABASE_STATEMENT_SECONDS,
            "lock": DATABASE_LOCK_SECONDS,
            "deadline": DATABASE_DEADLINE_SECONDS,
            # One of its small transactions may have to read a whole table first.
            "pruning": 60.0,
        },
        connect_timeout=2,
        # What is on its way to a host that is gone, and an idle connection to it.
        tcp_user_timeout=5000,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Realtime ---------------------------------------------------------------------------

USE_REDIS_SSE = env.bool("USE_REDIS_SSE", default=True)
# Keeps installations that share a Redis apart.
REDIS_PREFIX = env.str("REDIS_PREFIX", default="support")
REDIS_URLS = env.list("REDIS_URL", default=["redis://localhost:6379/0"])
if USE_REDIS_SSE:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {
                "hosts": [
                    {
                        "address": url,
                        # Bounds on the layer's own waits; the hub's breaker is tighter.
                        "socket_connect_timeout": 2,
                        "socket_timeout": 5,
                        "socket_keepalive": True,
                    }
                    for url in REDIS_URLS
                ],
                "prefix": REDIS_PREFIX,
            },
        }
    }
else:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            # The default capacity of 100 would drop events in a burst.
            "CONFIG": {"capacity": 10_000},
        }
    }

SSE_HEARTBEAT_SECONDS = env.float("SSE_HEARTBEAT_SECONDS", default=15.0)
SSE_MAX_STREAMS_PER_TARGET = env.int("SSE_MAX_STREAMS_PER_TARGET", default=50)
SSE_MAX_STREAMS_PER_ADDRESS = env.int("SSE_MAX_STREAMS_PER_ADDRESS", default=200)
# A stream older than this ends with a goodbye, between 80 % and all of it; clients resume.
SSE_MAX_STREAM_SECONDS = env.float("SSE_MAX_STREAM_SECONDS", default=600.0)
# Whether frames may be written past the server's `send` where that is known to be safe.
SSE_DIRECT_WRITES = env.bool("SSE_DIRECT_WRITES", default=True)
SSE_RETENTION_HOURS = env.float("SSE_RETENTION_HOURS", default=72.0)
SSE_RETENTION_EVENTS = env.int("SSE_RETENTION_EVENTS", default=5000)

# --- The conversation -------------------------------------------------------------------

AI_BACKENDS = {
    "offline": "ai_chatbot.backends.offline.OfflineBackend",
    "openai": "ai_chatbot.backends.openai.OpenAIBackend",
    "scripted": "ai_chatbot.backends.scripted.ScriptedBackend",
}
AI_BACKEND = env.str("AI_BACKEND", default="offline")
OPENAI_BASE_URL = env.str("OPENAI_BASE_URL", default="https://api.openai.com/v1")
OPENAI_API_KEY = env.str("OPENAI_API_KEY", default="")
OPENAI_MODEL = env.str("OPENAI_MODEL", default="gpt-4o-mini")
OPENAI_TIMEOUT_SECONDS = env.float("OPENAI_TIMEOUT_SECONDS", default=30.0)
OPENAI_MAX_TOKENS = env.int("OPENAI_MAX_TOKENS", default=400)
# Where an answer ends, whoever gives it: so long, after so long, after so long without a word.
AI_ANSWER_CHARACTERS = env.int("AI_ANSWER_CHARACTERS", default=2000)
AI_ANSWER_SECONDS = env.float("AI_ANSWER_SECONDS", default=30.0)
AI_PATIENCE_SECONDS = env.float("AI_PATIENCE_SECONDS", default=20.0)

# Times at which people are at work, in TIME_ZONE, like "mon-fri 09:00-18:00; sat 22:00-06:00".
# Empty: always. What is edited in the admin goes before it.
OPENING_HOURS = env.str("OPENING_HOURS", default="")
# An agent none of whose streams has been open for so long is offline.
AGENT_ABSENCE_SECONDS = env.float("AGENT_ABSENCE_SECONDS", default=60.0)
# An agent who is asked to take over a conversation has so long to answer.
TRANSFER_SECONDS = env.float("TRANSFER_SECONDS", default=60.0)
# How customers in line are given to agents: off (agents take them), round_robin, least_busy.
ASSIGNMENTS = ("off", "round_robin", "least_busy")
ASSIGNMENT = env.str("ASSIGNMENT", default="off")

# An agent who lets a customer wait for so long is told, then supervisors are, then the
# conversation goes back to the queue. 0: never.
AGENT_SILENT_WARN_SECONDS = env.float("AGENT_SILENT_WARN_SECONDS", default=120.0)
AGENT_SILENT_ALERT_SECONDS = env.float("AGENT_SILENT_ALERT_SECONDS", default=240.0)
AGENT_SILENT_REQUEUE_SECONDS = env.float("AGENT_SILENT_REQUEUE_SECONDS", default=480.0)
# A customer without an open stream for so long is shown as gone, leaves the queue after so long
# (0: never), and has the old place if back within so long.
CUSTOMER_GONE_SECONDS = env.float("CUSTOMER_GONE_SECONDS", default=120.0)
CUSTOMER_ABANDON_SECONDS = env.float("CUSTOMER_ABANDON_SECONDS", default=300.0)
CUSTOMER_RETURN_SECONDS = env.float("CUSTOMER_RETURN_SECONDS", default=1800.0)
# In an answered conversation in which nothing has been said for so long the customer is asked
# whether there is more; so long after that it is closed. 0: never.
IDLE_FOLLOW_UP_SECONDS = env.float("IDLE_FOLLOW_UP_SECONDS", default=0.0)
IDLE_CLOSE_SECONDS = env.float("IDLE_CLOSE_SECONDS", default=0.0)
# How customers and agents reach the pages, for links in mails.
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000").rstrip("/")
WORKBENCH_URL = (env.str("WORKBENCH_URL", default="") or PUBLIC_URL).rstrip("/")
# The link of a mail opens its conversation for so long.
CONTACT_LINK_DAYS = env.float("CONTACT_LINK_DAYS", default=14.0)

# Asked before a customer is put in the queue: is anyone there to take over?
HANDOFF_AVAILABILITY = "agent_workbench.presence.anyone_available"
# Asked for the estimate of a wait: how many conversations at once, and how many more now?
HANDOFF_CAPACITY = "agent_workbench.presence.capacity"

# --- Mail -------------------------------------------------------------------------------

EMAIL_URL = env.str("EMAIL_URL", default="") or "consolemail://"
try:
    _mail = env.email_url_config(EMAIL_URL)
except (ValueError, ImproperlyConfigured):
    # Without the error's text, which may have the password in it.
    raise ImproperlyConfigured(
        "EMAIL_URL is set to what it cannot be. Write it like smtp://host:25, "
        "smtp+tls://user:password@host:587 or consolemail://, with %-codes for special "
        "characters in the password."
    ) from None
EMAIL_BACKEND: str = _mail["EMAIL_BACKEND"]
EMAIL_HOST: str = _mail["EMAIL_HOST"] or ""
EMAIL_PORT: int = _mail["EMAIL_PORT"] or 0
EMAIL_HOST_USER: str = _mail["EMAIL_HOST_USER"] or ""
EMAIL_HOST_PASSWORD: str = _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS: bool = _mail.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL: bool = _mail.get("EMAIL_USE_SSL", False)
EMAIL_FILE_PATH: str = _mail["EMAIL_FILE_PATH"] or ""
# Of each step: the connection, a command, an answer.
EMAIL_TIMEOUT = env.float("EMAIL_TIMEOUT_SECONDS", default=10.0)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="support@localhost")
# Told when a customer wants to be written to; also where customers' answers to mails go.
# The demo, which prints its mail, has somebody to be told.
STAFF_EMAIL: list[str] = [
    address.strip()
    for address in env.list(
        "STAFF_EMAIL",
        default=["team@example.com"] if DEMO and EMAIL_URL == "consolemail://" else [],
    )
]

# --- Limits -----------------------------------------------------------------------------

RATE_LIMITS = env.bool("RATE_LIMITS", default=True)
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- Accounts and cookies ---------------------------------------------------------------

# Where seed_demo keeps the demo agents' random password: unless told otherwise, a file for each
# database, since each has its own.
_identity = "|".join(str(_database.get(key, "")) for key in ("ENGINE", "HOST", "PORT", "NAME"))
DEMO_PASSWORD_FILE = env.str("DEMO_PASSWORD_FILE", default="") or str(
    BASE_DIR / ".run" / f"demo-password-{hashlib.sha256(_identity.encode()).hexdigest()[:12]}"
)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "workbench-login"
LOGIN_REDIRECT_URL = "workbench"
LOGOUT_REDIRECT_URL = "workbench-login"
# True when the site is served over https, as it must be outside one machine.
HTTPS = env.bool("HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
# Into the browsers' own lists, with all subdomains; it takes months to get out of them.
HSTS_PRELOAD = env.bool("HSTS_PRELOAD", default=False)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS and HSTS_PRELOAD
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
# Two services on one host differ by port only, and browsers share cookies between ports.
SESSION_COOKIE_NAME = env.str("SESSION_COOKIE_NAME", default="support_session")
CSRF_COOKIE_NAME = env.str("CSRF_COOKIE_NAME", default="support_csrf")

# What our pages may load and send, and who may frame them; nothing inline. On a shop's page the
# widget is under the shop's policy (docs/operations.md).
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- Languages, time and files ----------------------------------------------------------

LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Files are served out of the apps' static folders; collectstatic is not needed.
WHITENOISE_USE_FINDERS = True
warnings.filterwarnings("ignore", message="No directory at", module="django.core.handlers")

# --- Logging ----------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django": {"level": "INFO"},
        # Client errors are answered, not logged one by one.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "openai": {"level": "WARNING"},
        # It logs a traceback a second while Redis is away; it is said once (sse.live.outage).
        "channels_redis.pubsub": {"level": "CRITICAL"},
    },
}

TEST_RUNNER = "tests.runner.PytestRunner"
