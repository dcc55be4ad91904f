"""Django's own tests of every email backend, out of the source of the version that is installed, on the portal's backend."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import unittest
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import ModuleType

import django
import pytest
from django.test import TestCase

from outbox.models import Message
from tests.support.portal import configure

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

# They send to `django` and `to1`. A recipient without a domain is refused here: no server of a stage could deliver it.
WITHOUT_DOMAIN = {"test_recipient_without_domain", "test_lazy_addresses"}
TESTS = f"django-{django.__version__}/tests/mail/tests.py"


@pytest.fixture
def django_tests(tmp_path: Path) -> ModuleType:
    """The module that holds them. Packages of Django don't have it, only its source does."""
    arguments = ["--no-deps", "--no-binary", "django", "--dest", str(tmp_path), f"django=={django.__version__}"]
    done = subprocess.run([sys.executable, "-m", "pip", "download", *arguments], capture_output=True, text=True, check=False)
    archives = list(tmp_path.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"pip could not get the source of Django {django.__version__}: {done.stderr[-300:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extract(TESTS, tmp_path, filter="data")
    spec = importlib.util.spec_from_file_location("django_mail_tests", tmp_path / TESTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def through_the_outbox(base: type) -> type[TestCase]:
    class OutboxBackendTests(base, TestCase):  # type: ignore[misc]
        email_backend = "outbox.backend.EmailBackend"

        def get_mailbox_content(self) -> list[EmailMessage]:
            stored = Message.objects.order_by("pk").values_list("content__data", flat=True)
            return [message_from_bytes(bytes(content).replace(b"\r\n", b"\n"), policy=policy.default) for content in stored]

        def flush_mailbox(self) -> None:
            Message.objects.all().delete()

    return OutboxBackendTests


def test_djangos_tests_pass_but_for_addresses_without_a_domain(crm, qa, settings, django_tests):
    configure(qa)
    settings.OUTBOX_APP, settings.OUTBOX_STAGE = "crm", "qa"
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(through_the_outbox(django_tests.BaseEmailBackendTests))
    result = unittest.TestResult()
    suite.run(result)
    text = dict([*result.failures, *result.errors])
    failed = {test.id().rpartition(".")[2] for test in text}
    assert failed == WITHOUT_DOMAIN, "\n".join(text.values())
    assert result.testsRun == len(WITHOUT_DOMAIN) + 16
