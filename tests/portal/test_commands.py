"""What containers and operators ask on the command line."""

from __future__ import annotations

import socket

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command, get_commands, load_command_class

from common.process import new_name
from delivery.models import Worker
from organization.cli import PortalCommand
from portal.release import RELEASE
from tests.support.portal import manage
from tests.support.smtp_server import SmtpServer, reserved_port


@pytest.mark.django_db(transaction=True)
def test_version_is_the_portals() -> None:
    done = manage("version")
    assert (done.returncode, done.stdout) == (0, f"{RELEASE}\n")


def test_a_worker_of_this_machine_is_healthy_while_it_reports(db: None) -> None:
    Worker.objects.create(name="another-machine:1:abcdef")
    with pytest.raises(CommandError, match="No worker of this machine"):
        call_command("health", "worker")
    Worker.objects.create(name=new_name())
    call_command("health", "worker")
    assert new_name().startswith(socket.gethostname())


def test_a_gateway_is_healthy_while_it_greets() -> None:
    with SmtpServer() as server:
        call_command("health", "gateway", port=server.port)
    with reserved_port() as port, pytest.raises(CommandError, match=f"doesn't greet on 127.0.0.1:{port}"):
        call_command("health", "gateway", port=port)


def is_ours(app: str) -> bool:
    return (settings.BASE_DIR / app).is_dir()


def test_all_commands_of_ours_end_with_one_clear_line_when_something_is_refused() -> None:
    commands = {name: load_command_class(app, name) for name, app in get_commands().items() if is_ours(app)}
    assert {"set_smtp", "send_email", "deliver", "test_list"} <= commands.keys()
    others = {name for name, command in commands.items() if not isinstance(command, PortalCommand)}
    assert others <= {"makemigrations", "createsuperuser"}, "Django's own may stay as they are"
