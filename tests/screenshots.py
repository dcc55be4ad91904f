"""python -m tests.screenshots: makes the pictures in docs/images from a seeded demo on a database of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.smtp_server import free_port

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
PASSWORD = "demo-portal-2026"


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        port, smtp_port = free_port(), free_port()
        demo = {"DEBUG": "true", "LOG_LEVEL": "ERROR", "DATABASE_URL": f"sqlite:///{folder}/demo.sqlite3"}
        environment = {**os.environ, **demo}

        def manage(*arguments: str) -> None:
            command = [sys.executable, "manage.py", *arguments]
            subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)

        manage("migrate", "-v0")
        manage("seed_demo", "--smtp-port", str(smtp_port))
        relay = [sys.executable, "manage.py", "demo_smtp_server", "--port", str(smtp_port)]
        web = [sys.executable, "-m", "gunicorn", "portal.wsgi", "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes = [subprocess.Popen(command, cwd=ROOT, env=environment, **silent) for command in (relay, web)]
        try:
            _wait(f"http://127.0.0.1:{port}/healthz")
            _fill(manage, smtp_port)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
                page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
                _take(page, f"http://127.0.0.1:{port}")
                browser.close()
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def _fill(manage, smtp_port: int) -> None:
    """Mail of a working day in QA: some before the test list was Active, some after, one that the stage holds."""
    smtp = ["--server", "127.0.0.1", "--port", str(smtp_port), "--security", "none", "--sender-name", "Acme"]
    offer = ["--from", "crm@acme.example", "--to", "customer@example.com", "--subject", "Your offer 2026-118"]
    manage("send_email", "crm", "qa", *offer)
    manage("set_smtp", "qa", *smtp, "--sender-address", "no-reply@acme.example")
    manage("send_email", "shop", "qa", "--to", "orders@example.com", "--subject", "Order 48213 has shipped")
    manage("deliver", "--once")
    people = ["dev.devon@acme.example", "CRM testers <testers@acme.example>", "Quinn QA <qa@acme.example>"]
    manage("test_list", "crm", "qa", *(part for person in people for part in ("--add", person)), "--activate")
    for subject in ("Welcome to Acme", "Your invoice 7731", "Reset your password"):
        recipients = ["--to", "Maria Costa <customer@example.com>", "--cc", "billing@example.com"]
        html = f"<h1 style='color:#5058e9'>{subject}</h1><p>Dear Maria, this is what the app wrote.</p>"
        manage("send_email", "crm", "qa", *recipients, "--subject", subject, "--body", f"{subject}\n\nDear Maria", "--html", html)
    manage("deliver", "--once")
    manage("send_email", "hr", "qa", "--to", "employee@example.com", "--subject", "Leave request approved")
    _an_hour_later(manage)


def _an_hour_later(manage) -> None:
    """Analytics counts what is older than a minute; meanwhile a secret comes to its end, and a worker lives."""
    statements = (
        "from datetime import timedelta; from django.db.models import F; from django.utils.timezone import localdate;"
        "from emailconfig.models import SmtpSettings; from outbox.models import Attempt, Message, Worker;"
        "from outbox.rollup import roll_up;"
        "[model.objects.update(created=F('created') - timedelta(hours=1)) for model in (Message, Attempt)]; roll_up();"
        "SmtpSettings.objects.filter(stage__key='production').update(secret_ends=localdate() + timedelta(days=12));"
        "Worker.objects.create(name='worker')"
    )
    manage("shell", "-c", statements)


def _take(page: Page, url: str) -> None:
    page.goto(f"{url}/accounts/login/")
    page.locator("[name=username]").fill("ada.admin@acme.example")
    page.locator("[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/")
    for name, path in (
        ("home", "/"),
        ("apps", "/apps/"),
        ("email-configurations", "/management/configure/emails/"),
        ("email-configuration", "/management/configure/emails/qa/"),
        ("email-configuration-edit", "/management/configure/emails/qa/edit/"),
        ("preset", "/management/configure/emails/qa/edit/?preset=microsoft-365"),
        ("delete", "/management/configure/emails/production/delete/"),
        ("send-test-mail", "/management/configure/emails/qa/test-mail/"),
        ("stages", "/management/configure/stages/"),
        ("analytics", "/monitor/analytics/qa/"),
        ("simulator", "/apps/crm/configuration/emails/qa/route/?to=customer@example.com&cc=billing@example.com"),
        ("documentation", "/help/"),
        ("test-list", "/apps/crm/configuration/emails/qa/"),
        ("test-list-edit", "/apps/crm/configuration/emails/qa/edit/"),
        ("email-log", "/monitor/email-log/qa/"),
    ):
        page.goto(url + path)
        page.screenshot(path=IMAGES / f"{name}.png")
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.goto(f"{url}/management/configure/emails/qa/")
    page.get_by_label("Recipient to ask about").fill("customer@example.com")
    page.get_by_role("button", name="Test connection").click()
    page.get_by_text("The connection test was successful").first.wait_for()
    page.locator(".doctor-start").screenshot(path=IMAGES / "connection-test.png")
    page.goto(f"{url}/monitor/email-log/qa/")
    page.set_viewport_size({"width": 1280, "height": 2050})
    page.get_by_role("link", name="Your invoice 7731").click()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / "mail.png")


def _wait(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url)
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"{url} does not answer")


if __name__ == "__main__":
    main()
