"""What starts with the published keys, and what every command says in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.support.portal import ROOT

pytestmark = pytest.mark.slow

MANAGE = (sys.executable, "manage.py")
CELERY = (sys.executable, "-m", "celery", "-A", "portal")
OWN_KEYS = {"SECRET_KEY": "x" * 60, "ENCRYPTION_KEYS": Fernet.generate_key().decode()}


def start(folder: Path, *command: str | bytes, **variables: str) -> subprocess.CompletedProcess[str]:
    """`command` in production, with a database that doesn't exist yet."""
    production = {
        "DEBUG": "false",
        "DATABASE_URL": f"sqlite:///{folder / 'portal.sqlite3'}",
        "CELERY_BROKER_URL": f"filesystem://{folder / 'broker'}",
    }
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **production, **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        (*MANAGE, "migrate"),
        (*MANAGE, "deliver", "--once"),
        (*MANAGE, "smtp_gateway"),
        (sys.executable, "-c", "import portal.wsgi"),
        (*CELERY, "worker", "--pool", "solo"),
        (*CELERY, "beat"),
    ],
    ids=lambda command: " ".join(command[1:]),
)
def test_nothing_that_uses_the_database_starts_with_published_keys(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = start(tmp_path, *command)
    assert done.returncode in (1, 3)
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "published" in line]
    assert "SECRET_KEY" in line
    assert "ENCRYPTION_KEYS" in line
    assert not (tmp_path / "portal.sqlite3").exists()


def test_the_garbage_collector_does_not_check_what_a_web_process_loaded(tmp_path: Path) -> None:
    loaded = "import gc, sys, portal.wsgi; print(gc.get_freeze_count() > len(gc.get_objects()), 'portal.urls' in sys.modules)"
    done = start(tmp_path, sys.executable, "-c", loaded, **OWN_KEYS)
    assert done.stdout.split() == ["True", "True"]


def test_one_published_key_is_enough_to_refuse(tmp_path: Path) -> None:
    keys = {**OWN_KEYS, "ENCRYPTION_KEYS": f"{OWN_KEYS['ENCRYPTION_KEYS']},ZGVtby1vbmx5LWtleS1ub3QtZm9yLXByb2R1Y3Rpb24="}
    done = start(tmp_path, *MANAGE, "migrate", **keys)
    assert done.returncode == 1
    assert done.stderr.startswith("ENCRYPTION_KEYS holds the published key")
    assert len(done.stderr.splitlines()) == 1


def test_an_image_can_be_built_and_a_configuration_checked_without_secrets(tmp_path: Path) -> None:
    for line in ("makemigrations --check --dry-run", "collectstatic --noinput --dry-run -v0", "deliver --help"):
        done = start(tmp_path, *MANAGE, *line.split())
        assert done.returncode == 0, done.stderr
    done = start(tmp_path, *MANAGE, "check")
    assert done.returncode == 1
    assert "portal.E001" in done.stderr
    assert "portal.E002" in done.stderr


def test_a_database_that_is_away_is_told_in_one_line(tmp_path: Path) -> None:
    no_such_folder = f"sqlite:///{tmp_path / 'gone' / 'portal.sqlite3'}"
    done = start(tmp_path, *MANAGE, "show_smtp", "qa", DATABASE_URL=no_such_folder, **OWN_KEYS)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: The database can't be reached right now.")
    assert len(done.stderr.splitlines()) == 1


def test_an_argument_that_is_not_utf_8_is_told_in_one_line(tmp_path: Path) -> None:
    done = start(tmp_path, *MANAGE, "show_smtp", b"q\xff", **OWN_KEYS)
    assert done.returncode == 1
    assert done.stderr == "CommandError: argument 2 isn't UTF-8: q\\xff\n"
