# Everything a person does with the portal starts here. `make demo` and `make test` need only git, make and python3.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PORT ?= 8000
export GATEWAY_PORT ?= 2525
export DEMO_SMTP_PORT ?= 2526

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast interop check bench format lock screenshots clean

help:
	@echo "make demo     install, migrate, seed and start everything on http://127.0.0.1:$(PORT)/"
	@echo "make test     the whole test suite: SQLite, PostgreSQL, real SMTP, a real browser"
	@echo "make test-fast  in about a minute, on SQLite: rules, texts, forms and pages; no worker, gateway, other server or browser"
	@echo "make interop  tests with Redis, RabbitMQ, Celery's programs, Postfix, Dovecot and six mail clients"
	@echo "make check    ruff, mypy, import-linter, djlint, codespell, our word list, check --deploy, missing migrations"
	@echo "make bench    how fast it accepts and delivers here, beside the machine's limits (about 15 minutes)"
	@echo "make install  only the virtual environment"
	@echo "make format   let ruff rewrite the sources"
	@echo "make screenshots  the pictures in docs/images"
	@echo "make lock     pin the requirement files again, with hashes"

install: $(VENV)/base.stamp

$(VENV)/bin/python:
	@./.ci/venv "$(PYTHON)" "$(VENV)"

$(VENV)/base.stamp: requirements/base.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	$(BIN)/python -m compileall -q portal accounts emaillog analytics gateway delivery outbox emailconfig testlists organization common
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/base.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

demo: install
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./.ci/demo

test: $(VENV)/dev.stamp
	@./.ci/test

# Its databases are kept, since making them would take a third of its time. A new, changed or removed migration removes them.
var/test-fast.stamp: $(wildcard */migrations */migrations/*.py)
	@mkdir -p var && rm -f var/test-fast.sqlite3* && touch $@

test-fast: $(VENV)/dev.stamp var/test-fast.stamp
	@TEST_DATABASE=var/test-fast.sqlite3 $(BIN)/python -m pytest -q -n auto --dist worksteal --reuse-db \
	  --ignore=tests/browser --ignore=tests/scenarios -m "not commits and not slow"

interop: $(VENV)/dev.stamp
	@./.ci/interop

check: $(VENV)/dev.stamp
	@./.ci/check

bench: $(VENV)/dev.stamp
	@$(BIN)/python -m tools.bench

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: install
	$(BIN)/pip install --quiet uv
	for name in base dev; do \
	  $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-header requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done

screenshots: $(VENV)/dev.stamp
	$(BIN)/python -m tools.screenshots

clean:
	rm -rf $(VENV) var
