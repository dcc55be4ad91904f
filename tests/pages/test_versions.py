"""Decision 7: a form carries the version that was read, and a save over another one is refused. For every form there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.forms import BaseForm, ModelForm
from django.http import HttpResponse
from django.urls import get_resolver

from organization.exceptions import STALE
from organization.models import AuditEvent, Member
from testlists.models import TestList, TestListAddress
from tests.support.portal import ROOMS, signed_in
from tests.support.urls import address_of
from tests.support.who_may import ADMIN, NOBODY, PAGES

pytestmark = pytest.mark.slow

# Other forms are made of these.
BASES = {"ArchivingForm", "CompleteAddresses", "ConfirmedForStageForm"}
# Forms that change nothing that was read before, with the reason.
WITHOUT_A_VERSION = {
    "AllowedAddressAdminForm": "only creates",
    "KeptHeaderAdminForm": "only creates",
    "KeptHeaderForm": "only creates",
    "RecipientForm": "names whom a connection test asks about",
    "StageConfirmation": "asks for the stage's name",
    "PauseForm": "only creates",
    "ResetForm": "only creates",
    "CurrentPasswordForm": "asks for the current password",
    "DiscardForm": "acts on what is held at that moment",
    "TestCopyForm": "acts on the whole database",
    "BulkForm": "acts on many emails as they are",
    "PolicyEffectForm": "asks a question",
    "PeriodForm": "asks a question",
    "ProofForm": "sends a mail",
    "ConfirmForm": "acts on the mail as it is",
    "ResendToForm": "has the time at which the page was read",
    "ResendForm": "has the time at which the page was read",
    "ReleaseForm": "has the time at which the page was read",
    "GiveRoleForm": "gives a role, which adds to the others",
    "SimulationForm": "asks a question",
    "TestMailForm": "sends a mail",
    "AnswerForm": "shows a second factor",
    "ConfirmPasswordForm": "asks for the password",
    "CodeForm": "replaces the member's own app",
    "PasskeyForm": "only creates",
}


def forms_of_ours(above: type[BaseForm] = BaseForm) -> Iterator[type[BaseForm]]:
    for form in above.__subclasses__():
        yield from forms_of_ours(form)
        if form.__module__.partition(".")[0] in ROOMS and form.base_fields:
            yield form


def test_every_form_that_edits_carries_the_version_that_was_read() -> None:
    assert get_resolver().url_patterns  # every view, and so every form, is loaded
    without = {form.__name__ for form in forms_of_ours() if "version" not in form.base_fields}
    assert without - BASES == set(WITHOUT_A_VERSION)


def test_every_form_of_django_admin_carries_the_version_that_was_read(everything: Member) -> None:
    editable = {path for path, model in ADMIN.items() if model.change != NOBODY}
    admins = {
        f"{model._meta.app_label}/{model._meta.model_name}": model_admin for model, model_admin in admin.site._registry.items()
    }
    assert editable <= set(admins)
    for path in editable:
        assert "version" in admins[path].form.base_fields, path
        assert issubclass(admins[path].form, ModelForm)


EDIT_PAGES = [route for route in PAGES if route.endswith("/edit/")] + ["accounts/profile/"]
ADMIN_PAGES = [f"admin/{path}/<path:object_id>/change/" for path, model in ADMIN.items() if model.change != NOBODY]


@pytest.mark.parametrize("route", [*EDIT_PAGES, *ADMIN_PAGES])
def test_a_stale_save_is_refused_on_every_page_and_overwrites_nothing(everything: Member, route: str) -> None:
    client, address = signed_in(everything), address_of(route)
    typed = as_shown(client.get(address))
    assert client.post(address, typed).status_code == 302
    saves = AuditEvent.objects.filter(operation="Update").count()
    refused = client.post(address, typed)
    assert refused.status_code == (422 if route in EDIT_PAGES else refused.status_code)
    page = client.get(refused["Location"]) if refused.status_code == 302 else refused
    assert STALE in page.content.decode()
    assert AuditEvent.objects.filter(operation="Update").count() == saves


def as_shown(page: HttpResponse) -> dict[str, Any]:
    """What the browser sends when nothing is changed in the page's form."""
    context: Any = page.context  # type: ignore[attr-defined]
    form = context["adminform"].form if "adminform" in context else context["form"]
    values = {field.html_name: field.value() for field in form}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def test_test_lists_are_changed_by_their_service_alone(everything: Member) -> None:
    for rows in (
        TestList.objects.all(),
        TestListAddress.objects.filter(name=""),
        TestList.objects.get(app__key="crm", stage__key="qa").addresses,
    ):
        with pytest.raises(TypeError, match="through their service"):
            rows.update(id=7)
    with pytest.raises(TypeError, match="through their service"):
        TestList.objects.bulk_update(TestList.objects.all(), ["active"])
