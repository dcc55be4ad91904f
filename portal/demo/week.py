"""A week of emails for the demo, so that its pages look as they do in an organization that uses the portal.

Every email goes through `submit_together()`, as the emails of apps do. Then its outcome is recorded with times in the past,
as if an SMTP server had replied. The same moment always gives the same week.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction

from analytics.rollup import roll_up
from common.clock import database_now
from delivery.retry_schedule import PAUSES
from emailconfig.models import SmtpSettings
from organization.access import Actor
from organization.credentials import create_credential
from organization.models import App, Credential, Stage
from outbox.attempt_outcome import AttemptOutcome
from outbox.models import Attempt, Message, Recipient, Source, Status
from outbox.submission import submit_together
from outbox.values import AcceptedMessage, Submission
from portal.demo.emails import GREYLISTED, MAILBOX_FULL, MOVED_AWAY, UNREACHABLE, choose_recipients, write_email

# An app and a stage, by their keys.
_Place = tuple[str, str]
# Emails in the busiest hour. QA has no SMTP settings, so its emails are held.
_TRAFFIC: dict[_Place, float] = {
    ("shop", "production"): 12.0,
    ("crm", "production"): 5.0,
    ("hr", "production"): 2.0,
    ("crm", "development"): 3.0,
    ("shop", "development"): 1.0,
    ("hr", "qa"): 0.1,
}
# How busy each hour of a day is, from midnight UTC, in percent.
_RHYTHM = (5, 4, 3, 3, 5, 10, 25, 50, 80, 100, 100, 90, 60, 80, 100, 95, 75, 55, 40, 40, 35, 25, 15, 8)
_WEEKEND = 0.35
_SATURDAY = 5
_DAYS = 7
# Analytics counts only messages that are older than a minute.
_NEWEST = timedelta(minutes=2)
_BATCH = 200
# How long one recipient has been unreachable, and how long ago the SMTP server was busy for half an hour.
_UNREACHABLE_FOR = timedelta(hours=2)
_BUSY_AGO, _BUSY_FOR = timedelta(days=2, hours=3), timedelta(minutes=30)


class _Reply(NamedTuple):
    step: str
    words: str

    @property
    def code(self) -> int:
        return int(self.words[:3])

    @property
    def outcome(self) -> AttemptOutcome:
        return {2: AttemptOutcome.SENT, 4: AttemptOutcome.DEFERRED, 5: AttemptOutcome.FAILED}[self.code // 100]


# An email gets the first of these statuses that any of its recipients has.
_WORST_FIRST = (Status.DEFERRED, Status.FAILED, Status.SENT)
_OK = _Reply("content", "250 2.0.0 Ok: queued")
_BUSY = _Reply("MAIL FROM", "451 4.3.2 The system is busy, please try again later")
_COME_BACK = _Reply("RCPT TO", "451 4.7.1 Greylisted, please try again in a minute")
_OUT_OF_REACH = _Reply("RCPT TO", "451 4.4.1 The recipient's server can't be reached at the moment")
_NO_SUCH_USER = _Reply("RCPT TO", "550 5.1.1 No such user here")
_FULL = _Reply("content", "552 5.2.2 The mailbox is full")


def seed_week(actor: Actor) -> None:
    """Add the week of emails to a new demo."""
    now, chance = database_now(), random.Random(2026)  # noqa: S311  # no secret depends on it
    with transaction.atomic():
        credentials = _credentials(now, actor)
        created, submissions = zip(*_submissions(now, chance, credentials), strict=True)
        accepted = _submit(submissions)
        _record(dict(zip(accepted, created, strict=True)), now, chance)
    while roll_up():
        pass


def _credentials(now: datetime, actor: Actor) -> dict[_Place, Credential]:
    """Create one credential for each app and stage. It is made when the week begins and used until now."""
    credentials = {}
    for app, stage in _TRAFFIC:
        new = create_credential(App.objects.get(key=app), Stage.objects.get(key=stage), actor, "web server")
        new.credential.created, new.credential.last_used = now - timedelta(days=_DAYS), now - _NEWEST
        credentials[app, stage] = new.credential
    Credential.objects.bulk_update(credentials.values(), ["created", "last_used"])
    return credentials


def _submissions(
    now: datetime, chance: random.Random, credentials: Mapping[_Place, Credential]
) -> Iterator[tuple[datetime, Submission]]:
    """Return each email with the time at which its app sends it, in the order of these times."""
    times = [(moment, place) for place in _TRAFFIC for moment in _moments(place, now, chance)]
    plans = [(moment, place, choose_recipients(place[0], chance)) for moment, place in sorted(times)]
    # The newest waits, so that every status can be seen.
    plans.append((now - _NEWEST, ("shop", "production"), [UNREACHABLE]))
    for moment, place, recipients in plans:
        credential = credentials[place]
        envelope, content = write_email(place[0], recipients, moment, chance)
        yield moment, Submission(credential.app, credential.stage, envelope, content, Source.GATEWAY, credential)


def _moments(place: _Place, now: datetime, chance: random.Random) -> Iterator[datetime]:
    """Yield the times at which this app sends in this stage: more in busy hours, at any second of the hour."""
    due = 0.0
    hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=_DAYS)
    while hour < now:
        usual = _TRAFFIC[place] * _RHYTHM[hour.hour] / 100
        due += usual * chance.uniform(0.5, 1.5) * (_WEEKEND if hour.weekday() >= _SATURDAY else 1)
        moments = [hour + timedelta(seconds=chance.uniform(0, 3600)) for _ in range(int(due))]
        yield from (moment for moment in moments if moment < now - _NEWEST)
        due -= int(due)
        hour += timedelta(hours=1)


def _submit(submissions: Sequence[Submission]) -> list[int]:
    """Accept the emails. Returns their numbers."""
    answers = [
        answer for start in range(0, len(submissions), _BATCH) for answer in submit_together(submissions[start : start + _BATCH])
    ]
    return [answer.pk for answer in answers if isinstance(answer, AcceptedMessage)]


def _record(created: Mapping[int, datetime], now: datetime, chance: random.Random) -> None:
    """Record when each email was accepted. If its stage has a server, also record the outcome for each recipient."""
    settings = {of_stage.stage_id: of_stage for of_stage in SmtpSettings.objects.all()}
    messages = list(Message.objects.prefetch_related("recipients").order_by("pk"))
    attempts: list[Attempt] = []
    for message in messages:
        recipients = message.recipients.all()
        message.created = message.due = created[message.pk]
        if message.status == Status.HELD:
            continue
        for recipient in recipients:
            attempts += _deliver(recipient, settings[message.stage_id], now, chance)
        message.status = min((recipient.status for recipient in recipients), key=_WORST_FIRST.index)
        message.due = min(recipient.due for recipient in recipients if recipient.status == message.status)
    Message.objects.bulk_update(messages, ["created", "status", "due"], _BATCH)
    changed = [recipient for message in messages for recipient in message.recipients.all()]
    Recipient.objects.bulk_update(changed, ["status", "due", "tries", "last_reply", "finished"], _BATCH)
    Attempt.objects.bulk_create(sorted(attempts, key=lambda attempt: attempt.created))


def _deliver(recipient: Recipient, settings: SmtpSettings, now: datetime, chance: random.Random) -> Iterator[Attempt]:
    """Yield the tries to reach one recipient until now, and set the status to which they lead."""
    seconds = chance.lognormvariate(-1.2, 0.6)
    moment = recipient.message.created + timedelta(seconds=seconds + chance.uniform(0.05, 0.3))
    while moment < now:
        reply = _reply(recipient, moment, now)
        recipient.tries, recipient.status = recipient.tries + 1, Status(reply.outcome)
        recipient.last_reply = "" if reply is _OK else reply.words
        yield Attempt(
            message=recipient.message,
            address=recipient.address,
            rule=recipient.rule,
            created=moment,
            outcome=reply.outcome,
            step=reply.step,
            code=reply.code,
            reply=reply.words,
            server=str(settings),
            settings_version=settings.version,
            seconds=seconds,
        )
        if reply.outcome != AttemptOutcome.DEFERRED:
            recipient.finished = moment
            break
        moment += PAUSES[recipient.tries - 1]
    recipient.due = moment


def _reply(recipient: Recipient, moment: datetime, now: datetime) -> _Reply:
    """Return the reply that the demo's SMTP server would have given."""
    address = recipient.address
    if address == MOVED_AWAY:
        return _NO_SUCH_USER
    if address == MAILBOX_FULL:
        return _FULL
    if address == GREYLISTED and not recipient.tries:
        return _COME_BACK
    if address == UNREACHABLE and moment > now - _UNREACHABLE_FOR:
        return _OUT_OF_REACH
    busy_since = now - _BUSY_AGO
    return _BUSY if busy_since <= moment < busy_since + _BUSY_FOR else _OK
