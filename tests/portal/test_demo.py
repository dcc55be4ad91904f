"""What `make demo` starts with, and what it says when it can't start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from analytics.models import DailyCount
from outbox.models import Attempt, Message
from portal.release import RELEASE
from tests.support.portal import ROOT

pytestmark = pytest.mark.django_db


@pytest.fixture
def demo(settings):
    settings.DEBUG = True
    call_command("seed_demo", "--with-emails", stdout=StringIO())


def test_the_demo_starts_with_a_week_of_emails_in_every_status(demo):
    assert set(Message.objects.values_list("status", flat=True)) == {"sent", "failed", "deferred", "held"}
    assert set(Message.objects.values_list("route", flat=True)) == {"test_list", "recipients"}
    oldest, newest = Message.objects.earliest("created").created, Message.objects.latest("created").created
    assert timedelta(days=6) < newest - oldest <= timedelta(days=7, hours=1)
    assert newest <= timezone.now()
    in_order = list(Message.objects.order_by("pk").values_list("created", flat=True))
    assert in_order == sorted(in_order)


def test_the_demos_analytics_count_every_email_and_try(demo):
    counted = DailyCount.objects.all()
    assert sum(row.accepted for row in counted) == Message.objects.count()
    assert sum(row.sent + row.deferred + row.failed for row in counted) == Attempt.objects.count()


def test_each_recipient_ends_as_its_last_try_says(demo):
    for message in Message.objects.exclude(status="held").prefetch_related("recipients", "attempts")[:300]:
        for recipient in message.recipients.all():
            tries = [attempt for attempt in message.attempts.all() if attempt.address == recipient.address]
            assert (recipient.tries, recipient.status) == (len(tries), tries[-1].outcome)
            assert (recipient.finished is None) == (recipient.status == "deferred")


def test_a_demo_that_people_use_gets_no_week(settings):
    settings.DEBUG = True
    call_command("seed_demo", stdout=StringIO())
    call_command("seed_demo", "--with-emails", stdout=StringIO())
    assert not Message.objects.exists()


def test_an_address_without_a_page_gets_the_portals_own_page_in_the_demo(settings):
    settings.DEBUG = True
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "portal.middleware.not_found.NotFoundPageMiddleware"]
    answer = Client().get("/nothing-here/")
    assert answer.status_code == 404
    assert "There is no such page" in answer.content.decode()
    assert "urlpatterns" not in answer.content.decode()


def test_the_menu_of_the_member_names_the_release(as_administrator):
    assert f"ODC Email Portal {RELEASE}" in as_administrator.get("/").content.decode()


def free_ports(**ports):
    environment = {**os.environ, **{name: str(port) for name, port in ports.items()}}
    command = [sys.executable, ".ci/free_ports.py", *ports]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_taken_port_is_named_with_the_command_that_chooses_another():
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        port, gateway_port = taken.getsockname()[1], other.getsockname()[1]
        answer = free_ports(PORT=port, GATEWAY_PORT=gateway_port)
    assert answer.returncode == 1
    assert f"Port {port} and {gateway_port} are taken" in answer.stderr
    *chosen, make, demo = answer.stderr.rpartition(": ")[2].split()
    assert (make, demo) == ("make", "demo")
    assert [text.partition("=")[0] for text in chosen] == ["PORT", "GATEWAY_PORT"]
    assert len({text.partition("=")[2] for text in chosen}) == 2
    assert free_ports(**dict(text.split("=") for text in chosen)).returncode == 0
