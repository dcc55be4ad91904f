"""Why a try to hand a mail over didn't succeed, as Analytics counts it: by the code of what explains it."""

from __future__ import annotations

from emailconfig.connection import meaning_of
from emailconfig.connection.explanations import EXPLANATIONS, Explanation

# Where no answer of the server tells.
_BROKE, _STOPPED = "hand_over_broke", "worker_stopped"
_OURS = {
    _BROKE: Explanation(
        "The connection broke during the hand-over, or the server's answer made no sense.",
        "Nothing to do: the mail is sent again. If it lasts, ask whoever runs the server.",
    ),
    _STOPPED: Explanation(
        "A worker of the portal stopped during the hand-over.",
        "Nothing to do: the mail is sent again. If it lasts, ask the operator to look at the workers.",
    ),
}


def cause_of(step: str, code: int | None, reply: str) -> str:
    """The cause of a try that didn't end as sent: its step, the server's reply code if it gave one, and what was said."""
    if code is not None:
        return meaning_of(step, reply)
    if not step:
        return _STOPPED
    ours = meaning_of("", reply)  # at no step of the server's
    return _BROKE if ours == "unintelligible" else ours


def explanation_of(cause: str) -> Explanation:
    """What it means and what to do. A cause from another version of the portal stands for itself."""
    return _OURS.get(cause) or EXPLANATIONS.get(cause) or Explanation(cause, "The server's words in the email log say more.")
