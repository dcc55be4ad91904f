"""How much mail of an app a test list caught during the last day, and how much it didn't. The work is bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from common import sql
from common.clock import database_now
from outbox.models import Recipient, RouteKind, Status
from testlists.models import TestList
from testlists.signals import RecentMail

_DAY = timedelta(hours=24)
# So many of the stage's newest mails are passed over at most, whatever app they are of.
_LOOKED_THROUGH = 5_000
# Written so that nothing but the log's index (stage, id) gives this order. For `stage_id = … ORDER BY id` PostgreSQL may
# walk down the numbers of all stages instead, and reads millions when this stage has been quiet.
_OF_THE_STAGE = "FROM outbox_message WHERE stage_id BETWEEN %s AND %s ORDER BY stage_id DESC, id DESC"
_NEWEST = f"""
    SELECT id, route, status, invitation
    FROM (SELECT id, app_id, route, status, invitation, created {_OF_THE_STAGE} LIMIT %s) AS newest
    WHERE app_id = %s AND created >= %s ORDER BY id DESC LIMIT %s
"""
_FIRST_PASSED_OVER = f"SELECT created >= %s {_OF_THE_STAGE} LIMIT 1 OFFSET %s"


def recent_mail(test_list: TestList) -> RecentMail:
    """Of the app's mails in the list's stage; at most RecentMail.AT_MOST of them are counted."""
    since = sql.stored(database_now() - _DAY)
    stage, app = test_list.stage_id, test_list.app_id
    rows = sql.fetch(_NEWEST, stage, stage, _LOOKED_THROUGH, app, since, RecentMail.AT_MOST + 1)
    counted = rows[: RecentMail.AT_MOST]
    moving = [(pk, route, invitation) for pk, route, status, invitation in counted if status != Status.HELD]
    others = [pk for pk, route, _ in moving if route != RouteKind.TEST_LIST]
    return RecentMail(
        caught=len(moving) - len(others),
        others=len(others),
        held=len(counted) - len(moving),
        recipients=_different_recipients(others),
        complete=len(rows) == len(counted) and not _is_more_in_the_stage(stage, since),
        invitations=sum(bool(invitation) for _, route, invitation in moving if route == RouteKind.TEST_LIST),
    )


def _different_recipients(messages: list[int]) -> int:
    addresses = Recipient.objects.filter(message__in=messages).order_by().values("address").distinct()
    return addresses[: RecentMail.AT_MOST].count()


def _is_more_in_the_stage(stage: int, since: Any) -> bool:
    """Whether mail of the last day lies beyond what was looked through."""
    return any(sql.flat(sql.fetch(_FIRST_PASSED_OVER, since, stage, stage, _LOOKED_THROUGH)))
