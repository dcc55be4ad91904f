"""The system checks for production."""

from __future__ import annotations

from io import StringIO
from ipaddress import ip_network

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from pytest_django import Settings

from portal.checks import check_encryption_keys, check_gateway, check_proxies, check_published_keys, check_retention

KEY = Fernet.generate_key().decode()


def identities() -> set[str]:
    findings = (
        *(*check_published_keys(), *check_encryption_keys(), *check_gateway(), *check_retention()),
        *check_proxies(),
    )
    return {str(finding.id) for finding in findings}


@pytest.fixture
def production_settings(settings: Settings) -> Settings:
    settings.SECRET_KEY = "x" * 60
    settings.ENCRYPTION_KEYS = [KEY]
    settings.GATEWAY_HOST, settings.GATEWAY_TLS_CERT, settings.GATEWAY_TLS_KEY = "0.0.0.0", "/cert.pem", "/key.pem"
    return settings


def test_nothing_is_found_when_production_sets_what_it_must(production_settings: Settings) -> None:
    assert identities() == set()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"SECRET_KEY": "demo-only-not-a-secret-" * 3}, {"portal.E001"}),
        ({"ENCRYPTION_KEYS": ["ZGVtby1vbmx5LWtleS1ub3QtZm9yLXByb2R1Y3Rpb24="]}, {"portal.E002"}),
        ({"ENCRYPTION_KEYS": [KEY, "ZGVtby1vbmx5LWtleS1ub3QtZm9yLXByb2R1Y3Rpb24="]}, {"portal.E002"}),
        ({"ENCRYPTION_KEYS": []}, {"portal.E003"}),
        ({"ENCRYPTION_KEYS": ["short"]}, {"portal.E003"}),
        ({"ENCRYPTION_KEYS": [KEY, "schlüssel"]}, {"portal.E003"}),
        ({"ENCRYPTION_KEYS": [KEY, Fernet.generate_key().decode()]}, set()),
        ({"CONTENT_RETENTION_DAYS": -1}, {"portal.E006"}),
        ({"BEHIND_PROXY": True, "TRUSTED_PROXIES": [ip_network("0.0.0.0/0"), "unix"]}, {"portal.W001"}),
        ({"BEHIND_PROXY": True, "TRUSTED_PROXIES": [ip_network("10.0.0.1")]}, set()),
        ({"LOG_RETENTION_DAYS": 0}, {"portal.E006"}),
        ({"GATEWAY_TLS_KEY": ""}, {"portal.E004"}),
        ({"GATEWAY_TLS_CERT": ""}, {"portal.E004"}),
        ({"GATEWAY_TLS_CERT": "", "GATEWAY_TLS_KEY": ""}, {"portal.E005"}),
        ({"GATEWAY_TLS_CERT": "", "GATEWAY_TLS_KEY": "", "GATEWAY_HOST": "127.0.0.1"}, set()),
        ({"GATEWAY_TLS_CERT": "", "GATEWAY_TLS_KEY": "", "GATEWAY_HOST": "localhost"}, set()),
    ],
)
def test_each_thing_that_is_missing_is_named(
    production_settings: Settings, values: dict[str, object], expected: set[str]
) -> None:
    for name, value in values.items():
        setattr(production_settings, name, value)
    assert identities() == expected


def test_every_finding_says_what_to_do(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = []
    settings.GATEWAY_HOST = "0.0.0.0"
    assert all(finding.hint for finding in (*check_published_keys(), *check_encryption_keys(), *check_gateway()))


def test_check_deploy_runs_them(settings: Settings, db: None) -> None:
    with pytest.raises(Exception, match=r"portal\.E001"):
        call_command("check", "--deploy", stdout=StringIO(), stderr=StringIO())
