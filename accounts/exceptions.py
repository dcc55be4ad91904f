"""What is refused about accounts: links, second factors, and people who sign in."""

from __future__ import annotations

from common.exceptions import PortalError


class InvalidLink(PortalError):
    """The link was used, has ended, or never was one."""

    def __init__(self) -> None:
        super().__init__("This link doesn't work any more.")


class SingleSignOnRefused(PortalError):
    """Why nobody was signed in, in words for the page that says it."""

    status = 403
    heading = "You can't sign in here yet"


class UnknownPerson(SingleSignOnRefused):
    """The identity isn't linked to a member, and may not be linked now."""


class DeactivatedMember(SingleSignOnRefused):
    """The identity's member was deactivated."""

    heading = "Your account was deactivated"


class RefusedByProvider(SingleSignOnRefused):
    """The provider has answered with an error instead of an identity."""

    heading = "You weren't signed in"


class StaleSignIn(SingleSignOnRefused):
    """The browser comes back from a sign-in that didn't start here, or is over."""

    status = 400
    heading = "This sign-in can't be continued"


class ProviderUnreachable(SingleSignOnRefused):
    """No answer from the provider in time."""

    status = 502
    heading = "Single sign-on doesn't answer"


class UnusableAnswer(SingleSignOnRefused):
    """The provider's answer proves nobody's identity: wrong signature, issuer, audience, time or nonce, or not readable."""

    status = 502
    heading = "The answer of single sign-on can't be used"


class WrongSecondFactor(PortalError):
    """The code, recovery code or passkey isn't accepted. The text says why, for the member."""
