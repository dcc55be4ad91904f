"""What `--held` does, for the commands that have it."""

from __future__ import annotations

from organization.access import Scope
from organization.cli import PortalCommand
from outbox.holding.held_mail import Choice, HeldMail, answer, held_in_words, held_mail

_ANSWERED = {Choice.DELIVER: "Delivered now", Choice.KEEP: "Kept", Choice.DISCARD: "Discarded"}


def answer_for_command(command: PortalCommand, place: Scope, choice: str | None, reason: str = "") -> None:
    """Answer, and say how many emails it is about. The operator has typed the stage's key, so the name isn't asked for."""
    assert place.stage is not None
    if choice and held_mail(place):
        question = answer(place, Choice(choice), command.operator, reason=reason, typed_stage_name=place.stage.name)
        say_answered(command, question, Choice(choice))
    elif in_words := held_in_words(place):
        command.stdout.write(in_words)


def say_answered(command: PortalCommand, question: HeldMail, choice: Choice) -> None:
    command.stdout.write(f"{_ANSWERED[choice]}: {question.emails} that {question.was} held.")
