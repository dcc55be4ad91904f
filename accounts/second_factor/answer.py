"""What a member shows as the second factor, and whether it is right. Signing in and confirming share it."""

from __future__ import annotations

from functools import partial

from django import forms
from django.http import HttpRequest, QueryDict

from accounts.exceptions import WrongSecondFactor
from accounts.second_factor.passkeys import check_passkey
from accounts.second_factor.recovery_codes import use_recovery_code
from accounts.second_factor.totp import check_code
from accounts.second_factor.tries import count_try, forget_tries
from organization.models import Member
from organization.throttle.attempts import attempt
from organization.throttle.models import Secret
from organization.throttle.networks import client_of

_PASSKEY_MAX_LENGTH = 20_000
NEEDS_JAVASCRIPT = "Passkeys need JavaScript, which is off in this browser. Use another factor."


class CodeField(forms.RegexField):
    """Six digits, however they are grouped."""

    def __init__(self) -> None:
        attributes = {"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}
        super().__init__(
            r"\A[0-9]{6}\Z",
            label="Code from your authenticator app",
            widget=forms.TextInput(attrs=attributes),
            error_messages={"invalid": "Enter the six digits that your app shows.", "required": "Enter the code."},
        )

    def to_python(self, value: object) -> str:
        return str(super().to_python(value)).replace(" ", "")


class AnswerForm(forms.Form):
    """One of the three. Each has a form of its own on the page, so the others are missing."""

    code = CodeField()
    recovery_code = forms.CharField(
        max_length=60,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "characters"}),
        help_text="One of those that you stored when you set up your second factor. It works once.",
    )
    passkey = forms.CharField(
        max_length=_PASSKEY_MAX_LENGTH, widget=forms.HiddenInput, error_messages={"required": NEEDS_JAVASCRIPT}
    )

    def __init__(self, data: QueryDict | None) -> None:
        super().__init__(data)
        for name, field in self.fields.items():
            field.required = data is None or name in data

    @property
    def kind(self) -> str:
        """What the member has answered with, in words."""
        return next(str(self[name].label).lower() for name in self.fields if name in self.data)


def is_right_answer(request: HttpRequest, member: Member, form: AnswerForm) -> bool:
    """Count a try, and check what the member gave. If it is wrong, the form says why. Raises TryLater."""
    count_try(request, member)
    if not form.is_valid():
        return False
    check = partial(_fits, request, member, form)
    if not attempt(Secret.CODE, member.email, client_of(request), check, member=member, actor=member):
        return False
    forget_tries(request)
    return True


def _fits(request: HttpRequest, member: Member, form: AnswerForm) -> bool:
    given = {name: value for name, value in form.cleaned_data.items() if value}
    try:
        if "passkey" in given:
            check_passkey(request, member, given["passkey"])
        elif "recovery_code" in given:
            use_recovery_code(member, given["recovery_code"])
        else:
            check_code(member, given.get("code", ""))
    except WrongSecondFactor as error:
        form.add_error(next(iter(given), "code"), str(error))
        return False
    return True
