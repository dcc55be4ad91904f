"""The zone is named beside every time. A tag with fixed arguments is a text, and says what Django's own says."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime

import pytest
from django.template import Context, Template
from django.template.base import TextNode
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from lucide.templatetags.lucide import lucide

from common.template_tags import moment


@pytest.mark.parametrize(
    ("hour", "zone"),
    [(0, "2:30:00 CEST (UTC+02:00)</span>"), (1, "2:30:00 CET (UTC+01:00)</span>"), (2, "3:30:00 CET</span></time>")],
)
def test_the_hour_that_comes_twice_has_its_offset(hour: int, zone: str) -> None:
    with timezone.override(zoneinfo.ZoneInfo("Europe/Madrid")):
        shown = moment(datetime(2026, 10, 25, hour, 30, tzinfo=UTC))
    assert zone in shown


@pytest.mark.parametrize(
    ("fixed", "variable", "says"),
    [
        ("{% lucide 'mail' size=16 %}", "{% lucide icon size=16 %}", lambda: lucide("mail", size=16)),
        ("{% static 'shell/base.css' %}", "{% static file %}", lambda: static("shell/base.css")),
        ("{% url 'home' %}", "{% url page %}", lambda: reverse("home")),
        ("{% url 'app' 'crm' %}", "{% url 'app' app_key=key %}", lambda: reverse("app", args=["crm"])),
        ("{% url 'app' 'crm' %}", "{% url 'app' 'CRM'|lower %}", lambda: reverse("app", args=["crm"])),
        ("{% url 'home' %}", "{% url 'home' as shown %}{{ shown }}", lambda: reverse("home")),
    ],
)
def test_a_tag_with_fixed_arguments_is_a_text_from_when_its_template_is_read(fixed: str, variable: str, says) -> None:
    context = Context({"icon": "mail", "file": "shell/base.css", "page": "home", "key": "crm"})
    (made_once,), (made_each_time, *_) = Template(fixed).nodelist, Template(variable).nodelist
    assert isinstance(made_once, TextNode) and not isinstance(made_each_time, TextNode)
    assert Template(fixed).render(context) == Template(variable).render(context) == says()
