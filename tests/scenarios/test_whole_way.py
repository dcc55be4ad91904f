"""From an app to the SMTP server of its stage, through real processes."""

from __future__ import annotations

import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from organization.credentials import create_credential
from outbox.models import Message, Source, Status
from tests.support.outbox import send, set_list
from tests.support.portal import OPERATOR, configure, environment, eventually, mail, manage, running, running_gateway
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_whole_way_to_the_test_list_with_real_processes(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    set_list(crm, qa, "ana@acme.example")
    new = create_credential(crm, qa, OPERATOR)
    with running_gateway() as port, smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
        smtp.login(new.credential.username, new.password)
        smtp.sendmail("crm@acme.example", ["customer@example.com", "bcc@example.com"], mail())
    done = manage("deliver", "--once")
    assert done.returncode == 0, done.stderr
    (arrived,) = smtp_server.arrived
    assert arrived.recipients == ["ana@acme.example"]
    assert Message.objects.get().status == Status.SENT


def test_the_backend_works_in_the_portals_own_process(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    code = "from django.core.mail import send_mail; send_mail('Hi', 'Text', 'crm@acme.example', ['customer@example.com'])"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Message.objects.get().via == Source.BACKEND


def test_a_worker_process_delivers_what_is_accepted_while_it_runs(crm, qa, configured, smtp_server):
    with running("deliver"):
        send(crm, qa)
        eventually(lambda: smtp_server.arrived)
        eventually(lambda: Message.objects.get().status == Status.SENT)


def test_a_server_on_another_port_is_used_by_the_running_worker_after_saving(crm, qa, configured, smtp_server):
    with SmtpServer() as other, running("deliver"):
        send(crm, qa)
        eventually(lambda: len(smtp_server.arrived) == 1)
        configure(qa, other, from_domains="*")
        send(crm, qa)
        eventually(lambda: len(other.arrived) == 1)
