"""manage.py create_credential: create what an app signs in with at the gateway.

The password is shown only once.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from organization.cli import PortalCommand, app_by_key, stage_by_key
from organization.credentials import create_credential


class Command(PortalCommand):
    help = "Create a credential with which an app sends in a stage. The password is shown once and stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_app(parser)
        self.add_stage(parser)
        parser.add_argument("--name", default="Default", help="where it is used, such as “web server”")
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        app, stage = app_by_key(options["app"]), stage_by_key(options["stage"])
        new = create_credential(app, stage, self.operator, options["name"])
        if options["json"]:
            self.write_json({"username": new.credential.username, "password": new.password})
            return
        self.stdout.write(f"Username: {new.credential.username}")
        self.stdout.write(f"Password: {new.password}")
        self.stdout.write("The password is not shown again. If you lose it, create another credential.")
