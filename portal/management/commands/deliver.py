"""manage.py deliver: the worker."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import CommandParser

from common.process import disable_seqscan, freeze_gc, keep_no_statements, leave_no_lock_behind
from delivery.worker import Worker
from organization.cli import PortalCommand
from portal.housekeeping import JOBS


class Command(PortalCommand):
    help = "Deliver queued emails until stopped. With --once, end when no email is due."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="deliver what is due, then end")

    def handle(self, *args: Any, **options: Any) -> None:
        freeze_gc()
        disable_seqscan()
        keep_no_statements()
        leave_no_lock_behind()
        worker = Worker(jobs=JOBS)
        if options["once"]:
            worker.drain()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        worker.run()
