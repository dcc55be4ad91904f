"""What Celery's workers do: exactly what `manage.py deliver` does, when a hint or beat says so.

A task carries no message and its loss costs nothing, so that nothing is ever retried through the broker.
"""

from __future__ import annotations

from celery import shared_task

from delivery import standby
from portal import housekeeping


@shared_task
def drain() -> None:
    """Deliver what is due now (see standby). Database errors pass through; the next drain goes on."""
    standby.drain()


@shared_task
def run_job(name: str) -> None:
    """Run one of housekeeping's jobs."""
    housekeeping.run_job(name)
