# Needs Linux, make and Python 3.11 or newer; everything else comes with these targets.
# Settings: .env.example. Variables a caller sets in the environment win.

VENV ?= .venv
PY = $(VENV)/bin/python
ENV_FILE ?= .env
PORT ?= 8000
CHAT_PORT ?= 8000
WORKBENCH_PORT ?= 8002
ARGS ?=

# The first of these that is 3.11 or newer; the lock files are compiled for 3.11.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
PIP = $(PY) -m pip install --quiet --disable-pip-version-check
# What the tests need beside Chromium and pip has not, each with the Debian package it is in.
PROGRAMS = nginx:nginx-light node:nodejs npm:npm
# The first, which computes half as much, or any other.
CHROMIUMS = chromium-headless-shell chromium chromium-browser google-chrome

.PHONY: help install install-dev programs run services prepare test fuzz coverage lint bench servers lock messages clean

help:
	@echo "make run        both products in one process at http://127.0.0.1:$(PORT), nothing else needed"
	@echo "make services   the same as two processes over Redis"
	@echo "make test       every test, on SQLite and on PostgreSQL at once (ARGS= goes to pytest)"
	@echo "make fuzz       the conversation driven at random, 200 runs of 100 steps on each database"
	@echo "make coverage   the same, and which lines of the products no test reaches"
	@echo "make lint       style, types, deployment checks, missing migrations"
	@echo "make bench      the benchmarks"
	@echo "make servers    what streams promise, on each ASGI server and each database"
	@echo "make lock       compile requirements*.in into requirements*.txt"
	@echo "make messages   collect and compile translations"
	@echo "make clean      remove caches; keeps .venv, .env and the database"

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(PY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install -y python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module. Install it, as root, with: apt-get install -y python3-venv" >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(PY)
	@echo "Installing requirements.txt into $(VENV)"
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing requirements-dev.txt into $(VENV)"
	@$(PIP) -r requirements-dev.txt
	@touch $@

programs:
	@PATH="$$PATH:/usr/sbin"; missing=; \
	for each in $(PROGRAMS); do \
		command -v $${each%%:*} >/dev/null || missing="$$missing $${each#*:}"; \
	done; \
	for each in $(CHROMIUMS); do command -v $$each >/dev/null && break; done \
		|| missing="$$missing chromium-headless-shell"; \
	fc-list :lang=zh 2>/dev/null | grep -q . || missing="$$missing fonts-noto-cjk"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; \
	else \
		echo "The tests need these. Install them, as root, with: apt-get install -y$$missing" >&2; exit 1; \
	fi

$(ENV_FILE): | $(PY)
	@umask 077 && printf 'SECRET_KEY=%s\n' "$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))')" > $@.new && mv $@.new $@
	@echo "Wrote $@ with a random SECRET_KEY"

prepare: $(VENV)/.installed | $(ENV_FILE)
	@[ ! -f $(ENV_FILE) ] || chmod go-rwx $(ENV_FILE)
	@$(PY) manage.py migrate --verbosity 0
	@$(PY) manage.py seed_demo

# Before anything is installed or migrated; where there is no Python yet, installing says so.
FREE = $(or $(wildcard $(PY)),$(PYTHON),:) deploy/ports.py
# What make runs ends with make, by SIGTERM, also when make is killed.
TETHERED = exec $(PY) -I -S deploy/tether.py $$PPID 15 -

run: export SERVICE ?= all
run: export USE_REDIS_SSE ?= false
run services: export DEMO ?= true
# Where links in mails lead, unless .env says so.
ifeq ($(shell grep -qs '^PUBLIC_URL=' $(ENV_FILE) && echo yes),)
run: export PUBLIC_URL ?= http://127.0.0.1:$(PORT)
services: export PUBLIC_URL ?= http://127.0.0.1:$(CHAT_PORT)
services: export WORKBENCH_URL ?= http://127.0.0.1:$(WORKBENCH_PORT)
endif
run:
	@$(FREE) run PORT=$(PORT)
	@$(MAKE) --no-print-directory prepare
	@echo
	@echo "Customer page:  http://127.0.0.1:$(PORT)/"
	@echo "Workbench page: http://127.0.0.1:$(PORT)/workbench/"
	@echo "Admin page:     http://127.0.0.1:$(PORT)/admin/"
	@echo
	@$(TETHERED) $(PY) -m daphne -b 127.0.0.1 -p $(PORT) config.asgi:application

services: export CHAT_PORT := $(CHAT_PORT)
services: export WORKBENCH_PORT := $(WORKBENCH_PORT)
services:
	@$(FREE) services CHAT_PORT=$(CHAT_PORT) WORKBENCH_PORT=$(WORKBENCH_PORT)
	@$(MAKE) --no-print-directory prepare
	@echo
	@echo "Customer page:  http://127.0.0.1:$(CHAT_PORT)/"
	@echo "Workbench page: http://127.0.0.1:$(WORKBENCH_PORT)/workbench/"
	@echo "Admin page:     http://127.0.0.1:$(WORKBENCH_PORT)/admin/"
	@echo
	@$(TETHERED) $(PY) deploy/services.py

test: install-dev programs
	$(PY) -m tests $(ARGS)

# Long enough to find what the suite's short run does not.
fuzz: export FUZZ_RUNS ?= 200
fuzz: export FUZZ_STEPS ?= 100
fuzz: install-dev
	$(PY) -m tests --timeout 7200 $(ARGS) tests/test_state_machine.py

coverage: install-dev programs
	@$(PY) -m coverage erase
	@rm -f .coverage.sqlite* .coverage.postgresql*
	$(PY) -m tests --cov --cov-report= $(ARGS)
	$(PY) -m coverage combine --quiet .coverage.*
	$(PY) -m coverage report

# What a deployed process would have, without the developer's own settings.
lint: export ENV_FILE = /dev/null
lint: export DATABASE_URL = sqlite://:memory:
lint: export HTTPS = true
lint: export DEBUG = false
lint: export ALLOWED_HOSTS = support.example.com
lint: export EMAIL_URL = smtp://mail.example.com
lint: export STAFF_EMAIL = support@example.com
lint: install-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@export SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))')" && set -ex && \
		$(PY) -m mypy . && \
		$(PY) manage.py check --deploy --fail-level WARNING && \
		$(PY) manage.py makemigrations --check --dry-run

bench: install-dev
	$(PY) -m tests.bench $(ARGS)

servers: install-dev
	$(PY) -m tests.servers $(ARGS)

UV_COMPILE = $(PY) -m uv pip compile --quiet --no-emit-index-url --no-emit-find-links --generate-hashes --no-strip-extras --python-version 3.11
lock: $(PY)
	@$(PY) -m uv --version >/dev/null 2>&1 || $(PIP) uv
	$(UV_COMPILE) requirements.in -o requirements.txt
	$(UV_COMPILE) requirements-dev.in -o requirements-dev.txt

# From inside each app, so that its strings land in its own locale folder.
APPS_WITH_TEXT = ai_chatbot agent_workbench config
messages: $(VENV)/.installed
	@command -v xgettext >/dev/null || { echo "Install gettext, as root, with: apt-get install -y gettext" >&2; exit 1; }
	for app in config sse ai_chatbot agent_workbench; do \
		(cd $$app && $(abspath $(PY)) -m django makemessages --locale zh_Hans --no-location \
		&& $(abspath $(PY)) -m django compilemessages --locale zh_Hans) || exit 1; done

clean:
	rm -rf .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis staticfiles test-results
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
