"""Yesterday's failures are resent in three clicks, and the ticks say how many emails they are about."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from outbox.models import Recipient
from tests.support.browser import Clicks
from tests.support.emaillog import named
from tests.support.portal import configure

pytestmark = pytest.mark.django_db(transaction=True)


def test_yesterdays_failures_are_resent_in_three_clicks_from_home(person, crm, qa):
    configure(qa)
    for number in range(3):
        message = named(crm, qa, f"Invoice {number}", status="failed", created=timezone.now() - timedelta(days=1))
        Recipient.objects.filter(message=message).update(status="failed")
    person.sign_in("ada.admin@acme.example")
    page, clicks = person.page, Clicks()
    clicks.click(page.get_by_role("link", name="3 emails failed yesterday"))
    page.wait_for_url("**status=failed&range=yesterday")
    clicks.click(page.get_by_role("button", name="Resend"))
    expect(page.get_by_role("heading", name="Resend: 3 emails")).to_be_visible()
    clicks.click(page.get_by_role("button", name="Resend"))
    expect(page.get_by_text("0 of 3 emails done")).to_be_visible()
    assert clicks.number == 3
    page.go_back()
    page.go_back()
    page.get_by_label("Select email #").first.check()
    expect(page.get_by_text("1 selected")).to_be_visible()
    expect(page.get_by_text("All 3 that match")).to_be_visible()
