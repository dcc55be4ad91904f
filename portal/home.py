"""Home: the notices that need this member's attention, a row for each stage whose log they may read, and their apps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter

from django.db.models import prefetch_related_objects
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timeuntil
from django.views.decorators.http import require_safe

from analytics.report import Places
from delivery.models import Worker
from gateway.models import Gateway
from organization.access import Scope, allowed
from organization.credentials import MAY_MANAGE
from organization.models import App, Credential, Member, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import end_ahead, policy_in_force
from organization.web.http import MemberRequest
from outbox.access.visibility import log_access_by_stage
from outbox.copies.copied_mail import held_by_stage
from outbox.copies.copied_mail import may_answer as may_answer_copy
from outbox.counts.backlog import Depth, HeldCounts, waiting_by_app
from outbox.counts.failed import count_failed
from outbox.holding.held_mail import HeldMail, held_by_app, may_answer, open_places
from outbox.models import WAITING, HoldReason, Pause
from portal.first_day import first_day
from portal.own_apps import app_rows, last_emails, own_apps
from portal.stage_overview import StageFacts, read_facts, stage_rows
from testlists.models import TestList
from testlists.services import may_edit, waits_for_decision
from testlists.state import holds_after_end

# Up to so many apps of a stage with held messages get a card each.
_APPS_NAMED = 3
_CREDENTIALS_NAMED = 5
_CREDENTIALS_LOOKED_AT = 200
_LOOKS_AFTER = (
    Permission.ACCESS_ASSET_LOGS,
    Permission.EDIT_ASSET_CONFIGURATIONS,
    Permission.MANAGE_EMAIL_CONFIGURATIONS,
)
_SEES_HELD = (Permission.ACCESS_ASSET_LOGS, Permission.EDIT_ASSET_CONFIGURATIONS)
_LIST_LACKS_PEOPLE = (HoldReason.TEST_LIST_EMPTY, HoldReason.TEST_LIST_MISSING)
# An end within this time gets a notice.
_NEAR = timedelta(hours=24)
# A client secret that ends within this time gets a notice.
SOON = timedelta(days=30)


@dataclass(frozen=True)
class Notice:
    """One thing to do: how urgent it is (danger, warning or info), what is wrong, and where to fix it.

    `stage`: the one that the title names. Its recipient policy is shown beside it.
    """

    kind: str
    title: str
    text: str
    url: str
    label: str
    stage: Stage | None = None


@require_safe
def home(request: MemberRequest) -> HttpResponse:
    stages = list(Stage.objects.filter(archived=False))
    places = log_access_by_stage(request.user, stages)
    facts = read_facts(stages)
    failed = count_failed(places, facts.now)
    own = own_apps(request.user, stages)
    context = {
        "waiting": notices_for(request.user, stages, places, facts, failed.last_day),
        "first_day": first_day(request.user, stages, facts.settings, own),
        "stages": stage_rows(places, facts, failed.last_day) if places else [],
        "failed_yesterday": failed.yesterday,
        "own_apps": app_rows(request.user, own, stages),
        "last_emails": last_emails(own, places),
    }
    return render(request, "portal/home.html", context)


def notices_for(
    member: Member, stages: list[Stage], places: Places, facts: StageFacts, failed: Mapping[int, Depth]
) -> list[Notice]:
    """Return the notices, the most urgent first. Members see only what they may fix or look into.

    `places`: what the member may read of each stage's log. `failed`: how many of these emails failed, by stage.
    """
    configurable = [stage for stage in stages if allowed(member, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)]
    notices = [
        *_copied(member, facts),
        *_no_worker(facts, configurable),
        *_no_gateway(facts, configurable),
        *_in_trouble(facts, configurable),
        *_ending_secrets(facts, configurable),
        *_ending_credentials(member, stages, facts),
        *_unconfigured(facts, configurable),
        *_held(member, stages, facts.held),
        *_lists_that_end(member, facts),
        *_policies_that_end(configurable, facts.now),
        *_asking(member, stages, facts),
        *_failed(places, failed),
        *_paused(member, facts, places),
    ]
    urgency = ("danger", "warning", "info")
    return sorted(notices, key=lambda notice: urgency.index(notice.kind))


def _copied(member: Member, facts: StageFacts) -> list[Notice]:
    """The emails that came with a copy which replaced its original."""
    held = held_by_stage() if facts.signs.was_copied and may_answer_copy(member) else {}
    if not held:
        return []
    text = "The original may have sent them after the backup. Look at them, then deliver or discard them."
    title = f"{Depth(sum(held.values())).emails} of the copy held: deliver or discard?"
    return [Notice("warning", title, text, reverse("installation"), "Decide")]


def _no_worker(facts: StageFacts, configurable: list[Stage]) -> list[Notice]:
    if not configurable or facts.is_alive(facts.signs.worker, Worker.STALE_AFTER):
        return []
    text = "No worker has reported lately. Emails are accepted and wait. Ask the operator to run manage.py deliver."
    return [Notice("danger", "Emails are not being delivered", text, reverse("email-configurations"), "Email configurations")]


def _no_gateway(facts: StageFacts, configurable: list[Stage]) -> list[Notice]:
    if not configurable or facts.is_alive(facts.signs.gateway, Gateway.STALE_AFTER):
        return []
    text = "No gateway has reported lately, so apps can't send emails. Ask the operator to run manage.py smtp_gateway."
    return [Notice("danger", "Emails are not being accepted", text, reverse("email-configurations"), "Email configurations")]


def _in_trouble(facts: StageFacts, configurable: list[Stage]) -> list[Notice]:
    """Return a notice for each stage in trouble. Every member sees the cause, but only those who can fix it see how."""
    return [
        Notice(
            "danger" if backoff.paused else "warning",
            f"Deliveries of {backoff.stage} are paused"
            if backoff.paused
            else f"Emails of {backoff.stage} wait for the SMTP server",
            f"{backoff.failure.cause} {backoff.failure.next_step if backoff.stage in configurable else backoff.for_others}",
            reverse("email-configuration", args=[backoff.stage.key]),
            "Open the email configuration",
            backoff.stage,
        )
        for backoff in facts.backoffs
    ]


def _ending_secrets(facts: StageFacts, configurable: list[Stage]) -> list[Notice]:
    today = timezone.localdate()
    return [
        Notice(
            "danger" if settings.secret_ends <= today else "warning",
            f"The client secret of {settings.stage} {_when((settings.secret_ends - today).days)}",
            "Create a new one at the provider and enter it, so that emails are still sent.",
            reverse("email-configuration-edit", args=[settings.stage.key]),
            "Enter a new client secret",
            settings.stage,
        )
        for settings in facts.settings.values()
        if settings.secret_ends is not None and settings.secret_ends <= today + SOON and settings.stage in configurable
    ]


def _ending_credentials(member: Member, stages: list[Stage], facts: StageFacts) -> list[Notice]:
    """A notice for each credential that ends soon, and is in use, for those who may create another one."""
    today = timezone.localdate()
    if facts.signs.credential_ends is None or facts.signs.credential_ends > today + SOON:
        return []
    ending = Credential.objects.filter(stage__in=stages, revoked_at=None, ends__lte=today + SOON, last_used__isnull=False)
    notices = [
        Notice(
            "danger" if credential.ends <= today else "warning",
            f"A credential of {credential.app} in {credential.stage} {_when((credential.ends - today).days)}",
            f"Its name is “{credential.name}”. Create another one, and give it to the app before that day.",
            reverse("app-emails", args=[credential.app.key, credential.stage.key]),
            "Open the app's credentials",
        )
        for credential in ending.select_related("app", "stage").order_by("ends", "pk")[:_CREDENTIALS_LOOKED_AT]
        if credential.ends is not None and allowed(member, Scope(credential.app, credential.stage), *MAY_MANAGE)
    ]
    return notices[:_CREDENTIALS_NAMED]


def _when(days: int) -> str:
    if days < 0:
        return "has expired"
    return {0: "ends today", 1: "ends tomorrow"}.get(days, f"ends in {days} days")


def _unconfigured(facts: StageFacts, configurable: list[Stage]) -> list[Notice]:
    return [
        Notice(
            "warning",
            f"{stage} has no SMTP server yet",
            "Emails are accepted and held until it has one.",
            reverse("email-configuration-edit", args=[stage.key]),
            "Set up email",
            stage,
        )
        for stage in configurable
        if stage.pk not in facts.settings
    ]


def _held(member: Member, stages: list[Stage], counts: HeldCounts) -> list[Notice]:
    """Return notices of messages that are held by a test list, which is empty or missing.

    Messages that wait for settings are part of the stage's notice.
    """
    held, by_pk = counts.by_app(_LIST_LACKS_PEOPLE), {stage.pk: stage for stage in stages}
    apps = App.objects.in_bulk({app for depths in held.values() for app in depths})
    waiting: list[Notice] = []
    for stage_pk, depths in held.items():
        stage = by_pk[stage_pk]
        visible = {apps[app]: depth for app, depth in depths.items() if allowed(member, Scope(apps[app], stage), *_SEES_HELD)}
        if len(visible) > _APPS_NAMED and allowed(member, Scope(stage=stage), Permission.ACCESS_ASSET_LOGS):
            waiting.append(_held_of_many(stage, visible))
        else:
            waiting += [_held_of_one(stage, app, depth) for app, depth in visible.items()]
    return waiting


def _held_of_one(stage: Stage, app: App, depth: Depth) -> Notice:
    return Notice(
        "warning",
        f"{depth.emails} of {app} in {stage} held",
        "The test list is empty or missing. Add a person to it, and the emails go to them.",
        reverse("app-emails-edit", args=[app.key, stage.key]),
        "Open the test list",
        stage,
    )


def _held_of_many(stage: Stage, depths: Mapping[App, Depth]) -> Notice:
    return Notice(
        "warning",
        f"{sum(depths.values(), Depth())} emails of {len(depths)} apps in {stage} held",
        "Their test lists are empty or missing. Add a person to each, and the emails go to them.",
        f"{reverse('email-log', args=[stage.key])}?status=held",
        "See the emails",
        stage,
    )


def _lists_that_end(member: Member, facts: StageFacts) -> list[Notice]:
    """Lists that end soon, and those that have expired, so that their app's mail is held. The first end comes first."""
    now = facts.now
    lists = [row for row in facts.lists if row.active_until and row.active_until <= now + _NEAR]
    lists.sort(key=attrgetter("active_until", "pk"))
    prefetch_related_objects(lists, "app")
    ending = [row for row in lists if may_edit(member, row.app, row.stage)]
    expired = [row for row in ending if waits_for_decision(row, now)]
    held = facts.held.by_app([HoldReason.LIST_EXPIRED])
    return [
        *(_expired_list(row, held.get(row.stage_id, {}).get(row.app_id, Depth())) for row in expired),
        *(_list_ends(row, now) for row in ending if row.is_active(now)),
    ]


def _expired_list(test_list: TestList, held: Depth) -> Notice:
    return Notice(
        "danger",
        f"The test list of {test_list.app} in {test_list.stage} has expired: {held.emails} held",
        "Extend the list, and held emails go to it. Or deactivate it.",
        reverse("app-emails-edit", args=[test_list.app.key, test_list.stage.key]),
        "Open the test list",
        test_list.stage,
    )


def _list_ends(test_list: TestList, now: datetime) -> Notice:
    stage, until = test_list.stage, test_list.active_until or now
    holds = holds_after_end(policy_in_force(stage, now), is_production=stage.is_production)
    return Notice(
        "warning",
        f"The test list of {test_list.app} in {stage} ends in {timeuntil(until, now, depth=1)}",
        "Then the app's emails are held until a person decides." if holds else "Then the list is Inactive.",
        reverse("app-emails-edit", args=[test_list.app.key, stage.key]),
        "Open the test list",
        stage,
    )


def _policies_that_end(configurable: list[Stage], now: datetime) -> list[Notice]:
    return [
        Notice(
            "info",
            f"The recipient policy of {stage} ends in {timeuntil(end, now, depth=1)}",
            f"Then the policy is again: {stage.get_policy_afterwards_display()}.",
            reverse("recipient-policy", args=[stage.key]),
            "Open the recipient policy",
            stage,
        )
        for stage in configurable
        if (end := end_ahead(stage, now)) and end <= now + _NEAR
    ]


def _asking(member: Member, stages: list[Stage], facts: StageFacts) -> list[Notice]:
    """Held mail that waits for an answer: of a whole stage for those who may answer for it, or else of their apps."""
    is_open = open_places(facts.settings, {(pause.stage_id, pause.app_id) for pause in facts.pauses})
    questions, notices = held_by_app(stages, facts.held, is_open), []
    apps = App.objects.in_bulk({app for by_app in questions.values() for app in by_app})
    for stage in stages:
        by_app = questions.get(stage.pk, {})
        if by_app and may_answer(member, Scope(stage=stage)):
            notices.append(_question(sum(by_app.values(), HeldMail()), stage, None))
            continue
        own = [(apps[app], question) for app, question in by_app.items() if may_answer(member, Scope(apps[app], stage))]
        notices += [_question(question, stage, app) for app, question in own[:_APPS_NAMED]]
    return notices


def _question(question: HeldMail, stage: Stage, app: App | None) -> Notice:
    place = f"{app} in {stage}" if app else str(stage)
    url = reverse("app-held-mail", args=[app.key, stage.key]) if app else reverse("held-mail", args=[stage.key])
    since = f"{timezone.localtime(question.depth.oldest):%Y-%m-%d %H:%M}" if question.depth.oldest else "now"
    outside = f"They are for {question.addresses_outside} outside the test lists and allowed addresses."
    text = f"The oldest has waited since {since}. {outside}"
    if question.kept:
        return Notice("info", f"{question.emails} of {place} kept", text, url, "Look at them", stage)
    return Notice("warning", f"{question.emails} of {place} held: deliver, keep or discard?", text, url, "Decide", stage)


def _failed(places: Places, counts: Mapping[int, Depth]) -> list[Notice]:
    return [
        Notice(
            "warning",
            f"{counts[stage.pk].emails} of {stage} failed in the last 24 hours",
            "Look at the reasons, and resend what is still needed.",
            f"{reverse('email-log')}?status=failed&range=24h&stage={stage.key}",
            "See the emails",
            stage,
        )
        for stage in places
        if counts[stage.pk].messages
    ]


def _behind(facts: StageFacts, places: Places) -> dict[int, Depth]:
    """Return how many emails wait behind each pause, as far as the member may see them in the log."""
    stages = {pause.stage for pause in facts.pauses if pause.stage in places}
    kinds = [*(waiting_by_app(stages, status) for status in WAITING), facts.held.by_app([HoldReason.PAUSED])]

    def depth(pause: Pause) -> Depth:
        access = places.get(pause.stage)
        depths = [
            depth
            for kind in kinds
            for app, depth in kind.get(pause.stage_id, {}).items()
            if access and access.sees(app) and pause.app_id in (None, app)
        ]
        return sum(depths, Depth())

    return {pause.pk: depth(pause) for pause in facts.pauses}


def _about(pause: Pause, behind: Depth) -> str:
    text = f"Paused by {pause.by} since {timezone.localtime(pause.since):%Y-%m-%d %H:%M}: {pause.reason}"
    return f"{text} – {behind} {'email waits' if behind.messages == 1 else 'emails wait'}." if behind.messages else text


def _paused(member: Member, facts: StageFacts, places: Places) -> list[Notice]:
    """Everybody hears of a paused stage; of a paused app those who look after it."""
    behind = _behind(facts, places)
    return [
        Notice(
            "warning",
            f"The emails of {pause.place} are paused",
            _about(pause, behind[pause.pk]),
            reverse("app-emails", args=[pause.app.key, pause.stage.key])
            if pause.app
            else reverse("email-configuration", args=[pause.stage.key]),
            "Open the app" if pause.app else "Open the email configuration",
            pause.stage,
        )
        for pause in facts.pauses
        if pause.app is None or allowed(member, Scope(pause.app, pause.stage), *_LOOKS_AFTER)
    ]
