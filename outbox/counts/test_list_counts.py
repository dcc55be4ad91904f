"""How many of an app's messages a test list caught during the last day, and how many it didn't. The work is bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from common import sql
from common.clock import database_now
from outbox import statements
from outbox.models import Recipient, RouteKind, Status
from testlists.models import TestList
from testlists.signals import RecentMail

_DAY = timedelta(hours=24)
# At most this many of the stage's newest messages are searched, whatever app they are of.
_LOOKED_THROUGH = 5_000

# What the list caught, and what never left, or only as test mail.
_NOT_PAST_THE_LIST = (RouteKind.TEST_LIST, RouteKind.CAPTURED, RouteKind.FORWARDED)


def recent_mail(test_list: TestList) -> RecentMail:
    """Count the app's messages in the list's stage, at most RecentMail.AT_MOST of them."""
    since = sql.to_db_time(database_now() - _DAY)
    stage, app = test_list.stage_id, test_list.app_id
    rows = sql.fetch(statements.RECENT_OF_APP, stage, stage, _LOOKED_THROUGH, app, since, RecentMail.AT_MOST + 1)
    counted = rows[: RecentMail.AT_MOST]
    moving = [message for message in counted if message.status != Status.HELD]
    caught = [message for message in moving if message.route == RouteKind.TEST_LIST]
    others = [message.id for message in moving if message.route not in _NOT_PAST_THE_LIST]
    return RecentMail(
        caught=len(caught),
        others=len(others),
        held=len(counted) - len(moving),
        recipients=_different_recipients(others),
        complete=len(rows) == len(counted) and not _is_more_in_the_stage(stage, since),
        invitations=sum(bool(message.invitation) for message in caught),
    )


def _different_recipients(messages: list[int]) -> int:
    addresses = (
        Recipient.objects.filter(message__in=messages).exclude(status=Status.CAPTURED).order_by().values("address").distinct()
    )
    return addresses[: RecentMail.AT_MOST].count()


def _is_more_in_the_stage(stage: int, since: Any) -> bool:
    """Whether there are messages of the last day beyond those that were searched."""
    return sql.fetch(statements.IS_RECENT, since, stage, stage, _LOOKED_THROUGH) == [True]
