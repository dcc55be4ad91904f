"""Single sign-on at npm's oidc-provider, a certified OpenID provider. It keeps the address out of the ID token."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from django.conf import LazySettings
from django.test import Client

from accounts.models import Identity
from organization.builtin_roles import DEVELOPER
from organization.models import App, Member, RoleGrant
from tests.interop.processes import Process
from tests.support.portal import ROOT, eventually
from tests.support.smtp_server import listening, reserved_port

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

PROGRAM = Path(__file__).parent / "clients" / "oidc_provider.mjs"
LIBRARY = ROOT / "var/npm/node_modules/oidc-provider/lib/index.js"
CALLBACK = "http://127.0.0.1:8000/accounts/single-sign-on/callback/"


def come_back(url: str, name: str) -> str:
    """Go through the provider's own pages as a browser does. Returns the URL that leads back to the portal."""
    browser = requests.Session()
    answer = browser.get(url, allow_redirects=False, timeout=30)
    while True:
        if answer.is_redirect:
            url = urljoin(answer.url, answer.headers["Location"])
            if url.startswith(CALLBACK):
                return url
            answer = browser.get(url, allow_redirects=False, timeout=30)
        else:
            form = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
            assert form and prompt, answer.text
            typed = {"prompt": prompt[1], "login": name, "password": "any"}
            answer = browser.post(urljoin(answer.url, form[1]), typed, allow_redirects=False, timeout=30)


def test_a_member_signs_in_at_the_provider(crm: App, folder: Path, settings: LazySettings) -> None:
    guest = Member.objects.create_user("gil@acme.example", None, name="Gil Guest")
    settings.OIDC_GROUP_GRANTS = {"crm": [{"role": DEVELOPER, "app": "crm"}]}
    settings.OIDC_LINK_BY_EMAIL, settings.PORTAL_URL = True, "http://127.0.0.1:8000"
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = "portal", "the-clients-secret"
    with reserved_port() as port:
        settings.OIDC_ISSUER = f"http://127.0.0.1:{port}"
        arguments = (str(LIBRARY), str(port), "portal", "the-clients-secret", CALLBACK)
        provider = Process("node", str(PROGRAM), *arguments, output=folder / "provider.log")
        try:
            eventually(lambda: listening(port))
            for browser in (Client(), Client()):  # the second time the person is linked already
                leading = browser.get("/accounts/single-sign-on/")
                back = urlsplit(come_back(leading["Location"], "gil"))
                assert browser.get(f"{back.path}?{back.query}").status_code == 302
                assert browser.session["_auth_user_id"] == str(guest.pk)
        finally:
            provider.end()
    identity = Identity.objects.get()
    assert (identity.member, identity.subject) == (guest, "gil")
    assert RoleGrant.objects.get(member=guest, from_single_sign_on=True).app == crm
