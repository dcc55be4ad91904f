"""One table of all jobs that run regularly. `manage.py deliver`, Celery's beat and Celery's tasks read it."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from analytics.rollup import forget_before, roll_up
from common.clock import database_now
from common.jobs import Job
from delivery.worker import SWEEP
from emaillog.bulk.carry_out import BULK_ACTIONS
from emaillog.models import BulkAction
from organization.audit.append_only import remove_older_than
from organization.throttle.counting import prune_counts
from outbox import retention

_DAY = 24 * 3600.0


def prune() -> retention.PruneResult:
    """Remove emails that are old enough.

    After LOG_RETENTION_DAYS, remove counts, entries of the audit trail and acts on many emails too.
    """
    pruned = retention.prune()
    now = database_now()
    oldest = now - timedelta(days=settings.LOG_RETENTION_DAYS)
    forget_before(oldest)
    remove_older_than(oldest, now)
    BulkAction.objects.filter(ended__lt=oldest).delete()
    return pruned


JOBS = (
    # Repairs what a crash or a changed clock left behind.
    SWEEP,
    # What people do about many emails at once.
    BULK_ACTIONS,
    # Counts new messages for Analytics. The outbox may never have been counted before.
    Job("roll-up", roll_up, every=15.0, first=15.0, beside=True),
    # Removes old counts of failed sign-ins. A flood may add many in an hour.
    Job("prune-failure-counts", prune_counts, every=600.0, first=300.0, beside=True),
    # Once a day, and not in the first minutes after a start, when people wait for emails.
    Job("prune", prune, every=_DAY, first=600.0, beside=True, nightly=True),
)


def run_job(name: str) -> None:
    """Run the job of that name here and now. Database errors pass through."""
    next(job for job in JOBS if job.name == name).action()
