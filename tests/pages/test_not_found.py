"""The portal's own page for an address that leads nowhere, in the demo too."""

from __future__ import annotations

from django.test import Client


def test_an_address_without_a_page_gets_the_portals_own_page_in_the_demo(db, settings):
    settings.DEBUG = True
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "portal.middleware.not_found.NotFoundPageMiddleware"]
    answer = Client().get("/nothing-here/")
    assert answer.status_code == 404
    assert "There is no such page" in answer.content.decode()
    assert "urlpatterns" not in answer.content.decode()
