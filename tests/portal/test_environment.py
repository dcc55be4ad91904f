"""What the environment may hold: a mistake is named with its variable, and never ignored."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from portal.environment import Environment
from tests.support.portal import ROOT, environment


@pytest.mark.parametrize(("text", "value"), [("true", True), ("On", True), ("1", True), ("no", False), ("0", False), ("", False)])
def test_true_and_false_are_words_that_are_known(text: str, value: bool) -> None:
    assert Environment({"HTTPS": text}).bool("HTTPS") is value


def test_a_variable_that_is_not_set_has_its_default() -> None:
    assert Environment({}).bool("HTTPS", default=True) is True
    assert Environment({}).networks("SMTP_DENIED_NETWORKS") == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"BEHIND_PROXY": "treu"}, "BEHIND_PROXY is “treu”; it must be true or false"),
        ({"GATEWAY_PORT": "smtp"}, "GATEWAY_PORT is “smtp”; it must be a whole number"),
        ({"DATABASE_CONNECT_TIMEOUT": "-1"}, "DATABASE_CONNECT_TIMEOUT is -1; it must be 0 or more"),
        ({"DELIVERY_WINDOW": "0"}, "DELIVERY_WINDOW is 0; it must be 1 or more"),
        ({"DELIVERY_WINDOW": "101"}, "DELIVERY_WINDOW is 101; it must be 100 or less"),
        ({"LOG_FORMAT": "jsno"}, "LOG_FORMAT is “jsno”; it must be one of: console, json"),
        ({"SMTP_DENIED_NETWORKS": "10.0.0.0/8, 10.0.0.1/8"}, "SMTP_DENIED_NETWORKS has “10.0.0.1/8”, which isn't a network"),
        ({"DATABASE_URL": "mysql://db.example/portal"}, "DATABASE_URL must begin with postgres:// or sqlite:///"),
        (
            {"OIDC_ISSUER": "http://127.0.0.1.id.example"},
            "OIDC_ISSUER is “http://127.0.0.1.id.example”; it must begin with https://",
        ),
        ({"OIDC_GROUP_GRANTS": "admins=Administrator"}, "OIDC_GROUP_GRANTS isn't JSON"),
        (
            {"OIDC_GROUP_GRANTS": '{"admins": "Administrator"}'},
            'OIDC_GROUP_GRANTS must be like {"group": [{"role": "Developer"}]}',
        ),
        ({"OIDC_GROUP_GRANTS": '{"crm": [{"app": "crm"}]}'}, "It needs a role, and may have an app and stages"),
        ({"OIDC_GROUP_GRANTS": '{"crm": [{"role": "Dev", "stages": "qa"}]}'}, "It needs a role"),
        ({"SECRET_KEY_FILE": "/nowhere/at/all"}, "SECRET_KEY_FILE names a file that can't be read"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_variable_in_one_line(values: dict[str, str], words: str) -> None:
    env = Environment(values)
    with pytest.raises(ImproperlyConfigured) as refused:
        env.bool("BEHIND_PROXY", default=False)
        env.int("GATEWAY_PORT", default=2525)
        env.positive("DATABASE_CONNECT_TIMEOUT", default=5)
        env.positive("DELIVERY_WINDOW", default=2, least=1, most=100)
        env.choice("LOG_FORMAT", "console", "json")
        env.networks("SMTP_DENIED_NETWORKS")
        env.https_url("OIDC_ISSUER")
        env.group_grants("OIDC_GROUP_GRANTS")
        env.database("DATABASE_URL", "sqlite:////tmp/portal.sqlite3")
        env.str("SECRET_KEY", default="")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_database_url_that_cannot_be_read_keeps_its_password() -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL isn't a valid URL") as refused:
        Environment({"DATABASE_URL": "postgres://odc:se/cret@db.example/portal"}).database("DATABASE_URL", "")
    assert "cret" not in str(refused.value)


def test_a_database_may_be_reached_over_a_socket_in_a_folder() -> None:
    env = Environment({"DATABASE_URL": "postgres://odc@%2Fvar%2Frun%2Fpostgresql/portal"})
    assert env.database("DATABASE_URL", "")["HOST"] == "/var/run/postgresql"


def test_a_secret_may_begin_with_a_dollar_sign_and_a_file_may_end_its_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("$om€ secret\n")
    assert Environment({"SECRET_KEY_FILE": str(tmp_path / "key")}).str("SECRET_KEY") == "$om€ secret"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("DATABSE_URL", "DATABASE_URL"), ("GATEWAY_HOSTS", "GATEWAY_HOST"), ("DATABASE_URI_FILE", "DATABASE_URL_FILE")],
)
def test_a_misspelled_variable_is_refused(name: str, meant: str) -> None:
    env = Environment({name: "x", "PATH": "/bin", "HTTPS_PROXY": "http://proxy.example"})
    for known in ("DATABASE_URL", "GATEWAY_HOST", "HTTPS", "DEBUG"):
        env.str(known, default="")
    with pytest.raises(ImproperlyConfigured, match=f"{name} is not a setting of the portal. Did you mean {meant}?"):
        env.refuse_misspelled()


def test_what_belongs_to_other_programs_is_left_alone() -> None:
    others = ("PATH", "HOME", "LOGNAME", "LANG", "HTTPS_PROXY", "NO_PROXY", "PGHOST", "DATABASE_SERVICE_HOST", "JOURNAL_STREAM")
    env = Environment(dict.fromkeys(others, "x"))
    for known in ("DATABASE_URL", "GATEWAY_HOST", "HTTPS", "DEBUG", "LOG_FORMAT", "LOG_LEVEL", "ALLOWED_HOSTS"):
        env.str(known, default="")
    env.refuse_misspelled()


# What `make` and its scripts read, and no process of the portal.
_OF_MAKE = {"DEMO_SMTP_PORT", "PYTHON", "BROWSER", "CHROMIUM"}


def documented(section: str) -> list[str]:
    """The names in the first column of its tables."""
    columns = re.findall(r"^\| ([A-Z_`, ]+) \|", section, re.MULTILINE)
    return [name for column in columns for name in re.findall(r"`([A-Z_]+)`", column)]


def test_the_reference_names_every_setting_once_and_no_other() -> None:
    source = (settings.BASE_DIR / "portal" / "settings.py").read_text()
    page = (settings.BASE_DIR / "docs" / "reference" / "settings.md").read_text()
    of_the_portal, _, of_make = page.partition("\n## make\n")
    read = set(re.findall(r"""\benv\.\w+\(\s*["']([A-Z_]+)["']""", source))
    names = documented(of_the_portal)
    assert len(names) == len(set(names))
    assert {*names, *documented(of_make)} == read | _OF_MAKE


@pytest.mark.requires_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("said", "threshold"), [("", "5"), ("&prepare_threshold=None", "None")])
def test_statements_are_prepared_unless_the_url_says_that_a_pooler_cant_keep_them(said: str, threshold: str) -> None:
    command = "from django.db import connection; connection.ensure_connection(); print(connection.connection.prepare_threshold)"
    url = environment()["DATABASE_URL"] + said
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", command],
        cwd=ROOT, env={**environment(), "DATABASE_URL": url}, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == threshold
