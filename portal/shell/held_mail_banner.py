"""What holds a stage's emails by a person's word: a banner for each pause, and the question about what is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from organization.access import Scope
from organization.models import App, Stage
from outbox.holding.held_mail import HeldMail, held_mail, is_being_carried_out, may_answer
from outbox.models import Pause

if TYPE_CHECKING:
    from django.http import HttpRequest

    from organization.models import Member

# The stage's own page and the app's page ask until a person answers.
_ASKING_PAGES = ("email-configuration", "app-emails")


class HeldMailBanner(TypedDict, total=False):
    """Missing on pages that belong to no stage. Looked up by pages that show it, not by parts of pages."""

    pauses: SimpleLazyObject[Any]  # a list of Pause, each with `resume_url`: empty for members who may not
    paused_stage_ids: SimpleLazyObject[Any]  # on pages about all stages: those that a person has paused
    held_question: SimpleLazyObject[Any]  # a HeldMail, empty where nothing asks
    held_url: str  # where the answer goes
    held_is_in_hand: SimpleLazyObject[Any]  # whether an answer is being carried out
    may_answer_held: SimpleLazyObject[Any]


def held_mail_banner(request: HttpRequest) -> HeldMailBanner:
    """The context processor. A page belongs to the stage, and the app, whose keys are in its address."""
    match, member = request.resolver_match, getattr(request, "user", None)
    key = match.kwargs.get("stage_key") if match else None
    if match is None or member is None or not member.is_authenticated:
        return {}
    if key is None:
        return {"paused_stage_ids": SimpleLazyObject(_paused_stage_ids)}
    app_key = match.kwargs.get("app_key")
    place: SimpleLazyObject[Any] = SimpleLazyObject(lambda: _place(key, app_key))
    banner: HeldMailBanner = {"pauses": SimpleLazyObject(lambda: _pauses(key, app_key, member))}
    if match.url_name in _ASKING_PAGES:
        banner |= {
            "held_question": SimpleLazyObject(lambda: _question(place)),  # type: ignore[arg-type]
            "held_url": reverse("app-held-mail", args=[app_key, key]) if app_key else reverse("held-mail", args=[key]),
            "held_is_in_hand": SimpleLazyObject(lambda: is_being_carried_out(place)),  # type: ignore[arg-type]
            "may_answer_held": SimpleLazyObject(lambda: may_answer(member, place)),  # type: ignore[arg-type]
        }
    return banner


def _paused_stage_ids() -> set[int]:
    return set(Pause.objects.filter(app=None).values_list("stage_id", flat=True))


def _place(stage_key: str, app_key: str | None) -> Scope | None:
    """None where the page itself says that there is no such stage or app."""
    stage = Stage.objects.filter(key=stage_key).first()
    app = App.objects.filter(key=app_key).first() if app_key else None
    return None if stage is None or (app_key and app is None) else Scope(app, stage)


def _question(place: Scope | None) -> HeldMail:
    question = held_mail(place) if place else HeldMail()
    return HeldMail() if question.kept else question


def _pauses(stage_key: str, app_key: str | None, member: Member) -> list[Pause]:
    pauses = Pause.objects.filter(stage__key=stage_key).select_related("stage", "app")
    shown = [pause for pause in pauses if pause.app is None or app_key is None or pause.app.key == app_key]
    for pause in shown:
        may = may_answer(member, Scope(pause.app, pause.stage))
        args = [pause.app.key, pause.stage.key] if pause.app else [pause.stage.key]
        pause.resume_url = reverse("app-resume" if pause.app else "resume", args=args) if may else ""  # type: ignore[attr-defined]
    return shown
