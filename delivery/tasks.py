"""What Celery's workers do: exactly what `manage.py deliver` does, when a hint or beat says so.

A task carries no mail and its loss costs nothing, so that nothing is ever retried through the broker.
"""

from __future__ import annotations

from celery import shared_task

from analytics import rollup
from delivery import standby, worker
from outbox import retention


@shared_task
def drain() -> None:
    """Deliver what is due now (see standby). Database errors pass through; the next drain goes on."""
    standby.drain()


@shared_task
def sweep() -> None:
    """Repair what a crash or a clock left, and count what is new for Analytics."""
    worker.sweep()
    rollup.roll_up()


@shared_task
def prune() -> None:
    """Remove what is old enough."""
    retention.prune()
