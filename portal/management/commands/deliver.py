"""manage.py deliver: the worker."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import CommandParser

from common.process import go_by_key, keep_no_statements, leave_no_lock_behind, spare_the_collector
from delivery.worker import Worker
from organization.cli import PortalCommand
from portal.housekeeping import JOBS


class Command(PortalCommand):
    help = "Deliver queued mail until stopped; --once ends when nothing is due any more."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="deliver what is due, then end")

    def handle(self, *args: Any, **options: Any) -> None:
        spare_the_collector()
        go_by_key()
        keep_no_statements()
        leave_no_lock_behind()
        worker = Worker(jobs=JOBS)
        if options["once"]:
            worker.drain()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        worker.run()
