"""manage.py create_credential: create what an app signs in with at the gateway.

The password is shown only once.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from organization.cli import app_by_key, one_clear_line, operator, stage_by_key
from organization.credentials import create_credential


class Command(BaseCommand):
    help = "Create a credential with which an app sends in a stage. The password is shown once and stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app", help="the app's key, such as crm")
        parser.add_argument("stage", help="the stage's key, such as qa")
        parser.add_argument("--name", default="Default", help="where it is used, such as “web server”")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        app, stage = app_by_key(options["app"]), stage_by_key(options["stage"])
        with one_clear_line():
            new = create_credential(app, stage, operator("create_credential"), options["name"])
        if options["json"]:
            self.stdout.write(json.dumps({"username": new.credential.username, "password": new.password}))
            return
        self.stdout.write(f"Username: {new.credential.username}")
        self.stdout.write(f"Password: {new.password}")
        self.stdout.write("The password is not shown again. If you lose it, create another credential.")
