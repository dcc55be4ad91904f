"""Names: what people can see, on one line."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db.models import Model

from emailconfig.models import SmtpSettings
from organization.models import App, Credential, Member, Role, Stage
from testlists.models import TestListAddress

NAMES: list[tuple[Model, str]] = [
    (App(), "name"),
    (App(), "description"),
    (Stage(), "name"),
    (Member(), "name"),
    (Role(), "name"),
    (Credential(), "name"),
    (TestListAddress(), "name"),
    (SmtpSettings(), "sender_name"),
]


HIDDEN = [
    *("a\x85b", "a\x9bb", "a\u2028b", "a\u202eb", "a\u2066b", "a\u200bb", "CRM\u200d", "a\u200cb", "\ufeffa", "a\u2060b"),
    *("a\u061cb", "a\u00adb", "a\u206ab", "a\u180eb", "a\ufff9b", "a\U000e0061b"),
]


@pytest.mark.parametrize("text", HIDDEN, ids=ascii)
def test_no_name_hides_a_character(text: str) -> None:
    for instance, field in NAMES:
        setattr(instance, field, text)
        with pytest.raises(ValidationError) as refused:
            instance.clean_fields()
        assert "invisible characters" in str(refused.value.message_dict[field])


@pytest.mark.parametrize("name", ["علی\u200cرضا", "क\u094d\u200dष", "👩\u200d💻 Ada", "José Nuñez", "王小明"])
def test_scripts_that_join_letters_are_names_too(name: str) -> None:
    for instance, field in NAMES:
        setattr(instance, field, name)
        with pytest.raises(ValidationError) as incomplete:
            instance.clean_fields()
        assert field not in incomplete.value.message_dict
