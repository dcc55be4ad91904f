"""One table of all jobs that run regularly. `manage.py deliver`, Celery's beat and Celery's tasks read it."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from accounts.links import forget_links
from accounts.own_mail.contents import OwnMessage, remove_finished_contents
from accounts.passwords.reset import ResetRequest, answer_requests
from accounts.reminders.sending import forget_reminders, send_reminders
from accounts.sessions.services import remove_ended
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

    After LOG_RETENTION_DAYS, remove counts, entries of the audit trail, acts on many emails, links and reminders too. Sessions
    that are over are removed at any age.
    """
    pruned = retention.prune()
    now = database_now()
    oldest = now - timedelta(days=settings.LOG_RETENTION_DAYS)
    forget_before(oldest)
    remove_older_than(oldest, now)
    BulkAction.objects.filter(ended__lt=oldest).delete()
    forget_links(oldest)
    forget_reminders(oldest)
    remove_ended()
    return pruned


def send_own_mail() -> None:
    """Answer members who forgot their password, and remove the contents of the portal's own emails that are finished."""
    answer_requests()
    remove_finished_contents()


def own_mail_waits() -> bool:
    return ResetRequest.objects.exists() or OwnMessage.objects.exists()


JOBS = (
    # Repairs what a crash or a changed clock left behind.
    SWEEP,
    # What people do about many emails at once.
    BULK_ACTIONS,
    # A person waits for the email. It isn't written by the page, whose time would tell whether there is such a member.
    Job("own-mail", send_own_mail, every=3.0, needed=own_mail_waits),
    Job("reminders", send_reminders, every=600.0, first=120.0, beside=True),
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
