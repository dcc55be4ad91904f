"""The causes of failed tries, as Analytics counts them. A cause is the code of its explanation."""

from __future__ import annotations

from emailconfig.connection import meaning_of
from emailconfig.connection.explanations import EXPLANATIONS, Explanation

# The causes that no reply of the server names.
_BROKE, _STOPPED = "hand_over_broke", "worker_stopped"
_OURS = {
    _BROKE: Explanation(
        "The connection broke while the email was sent, or the server's reply made no sense.",
        "Nothing to do: the email is sent again. If this continues, ask the people who run the server.",
    ),
    _STOPPED: Explanation(
        "A worker of the portal stopped while the email was sent.",
        "Nothing to do: the email is sent again. If this continues, ask the operator to check the workers.",
    ),
}


def cause_of(step: str, code: int | None, reply: str) -> str:
    """Return the cause of a try that didn't end as sent, from its step, the server's reply code (if any) and the reply."""
    if code is not None:
        return meaning_of(step, reply)
    if not step:
        return _STOPPED
    ours = meaning_of("", reply)  # without a step, because the server didn't reply
    return _BROKE if ours == "unintelligible" else ours


def explanation_of(cause: str) -> Explanation:
    """Return what the cause means and what to do. A cause from another version of the portal is shown as it is."""
    return _OURS.get(cause) or EXPLANATIONS.get(cause) or Explanation(cause, "See the server's reply in the email log.")
