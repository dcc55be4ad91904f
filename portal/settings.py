"""The one settings module. Every value an operator may set comes from the environment (docs/reference/settings.md).

Secrets are also read from files: `SECRET_KEY_FILE=/run/secrets/key` stands in for `SECRET_KEY`.
The defaults are those of the demo on one machine; `manage.py check --deploy` names what production must set.
"""

import logging
from pathlib import Path
from typing import Any

import django_stubs_ext
from csp.constants import NONE, SELF

from portal.environment import Environment
from portal.log_config import log_config

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = BASE_DIR / "var"

django_stubs_ext.monkeypatch()  # ModelForm[App] and the like are types at run time too
env = Environment()

# What production must set: see portal/checks.py.
DEMO_SECRET_KEY = "demo-only-not-a-secret-" * 3
DEMO_ENCRYPTION_KEY = "ZGVtby1vbmx5LWtleS1ub3QtZm9yLXByb2R1Y3Rpb24="

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default=DEMO_SECRET_KEY)
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEYS", default=[DEMO_ENCRYPTION_KEY])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
HTTPS = env.bool("HTTPS", default=not DEBUG)
ORGANIZATION_NAME = env.str("ORGANIZATION_NAME", default="Acme")

# Where people reach the portal: links in messages begin with it.
PORTAL_URL = env.str("PORTAL_URL", default=f"http://127.0.0.1:{env.str('PORT', default='8000')}")
# The stage through which the portal sends its own emails to members, by its key. Empty: it sends none.
PORTAL_STAGE = env.str("PORTAL_STAGE", default="")
# Which installation this is. Empty: a file beside the SQLite database, or in `var/`, holds it.
INSTALLATION_ID = env.str("INSTALLATION_ID", default="")

# The gateway that apps send through.
GATEWAY_HOST = env.str("GATEWAY_HOST", default="127.0.0.1")
GATEWAY_PORT = env.int("GATEWAY_PORT", default=2525)
# What apps are told to connect to, where that is another name than the gateway's own address.
GATEWAY_PUBLIC_HOST = env.str("GATEWAY_PUBLIC_HOST", default=GATEWAY_HOST)
GATEWAY_TLS_CERT = env.str("GATEWAY_TLS_CERT", default="")
GATEWAY_TLS_KEY = env.str("GATEWAY_TLS_KEY", default="")
# A second port, where TLS begins with the connection. 0: none.
GATEWAY_TLS_PORT = env.int("GATEWAY_TLS_PORT", default=0)
# How many connections may be open. 0: as the file limit allows (gateway.connection_limits).
GATEWAY_MAX_CONNECTIONS = env.int("GATEWAY_MAX_CONNECTIONS", default=0)
GATEWAY_MAX_CONNECTIONS_PER_ADDRESS = env.int("GATEWAY_MAX_CONNECTIONS_PER_ADDRESS", default=500)
GATEWAY_MAX_UNAUTHENTICATED = env.int("GATEWAY_MAX_UNAUTHENTICATED", default=200)
MESSAGE_MAX_BYTES = env.int("MESSAGE_MAX_BYTES", default=25 * 1024 * 1024)

# Where stages' SMTP servers and token servers may be, beside public and private addresses; denied ones win.
SMTP_ALLOWED_NETWORKS = env.networks("SMTP_ALLOWED_NETWORKS")
SMTP_DENIED_NETWORKS = env.networks("SMTP_DENIED_NETWORKS")

# What final mail says goes after so many days, and the mail with all that is known of it after so many.
CONTENT_RETENTION_DAYS = env.int("CONTENT_RETENTION_DAYS", default=30)
LOG_RETENTION_DAYS = env.int("LOG_RETENTION_DAYS", default=365)

# How many emails of one connection may be sent and not yet recorded: that many can arrive twice after a crash.
DELIVERY_WINDOW = env.positive("DELIVERY_WINDOW", default=2, least=1, most=100)

# Where Celery's workers are woken up. Empty: no Celery, `manage.py deliver` is the worker.
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="")

# Django's own mail (password resets, error reports) goes through the outbox too, as this app and stage.
EMAIL_BACKEND = env.str("EMAIL_BACKEND", default="outbox.backend.EmailBackend")
OUTBOX_APP = env.str("OUTBOX_APP", default="")
OUTBOX_STAGE = env.str("OUTBOX_STAGE", default="")

INSTALLED_APPS = [
    "portal",  # first, so that its commands take the place of Django's
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.forms",
    "csp",
    "django_filters",
    "django_htmx",
    "django_structlog",
    "lucide",
    "accounts",
    "gateway",
    "emaillog",
    "delivery",
    "analytics",
    "outbox",
    "emailconfig",
    "testlists",
    "organization",
]

MIDDLEWARE = [
    "portal.middleware.response_headers.ResponseHeadersMiddleware",
    "portal.health.ProbeMiddleware",
    "portal.middleware.trusted_proxies.TrustedProxiesMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "portal.middleware.database_trouble.DatabaseTroubleMiddleware",
    "portal.middleware.database_gate.DatabaseGateMiddleware",
    "portal.middleware.clean_requests.CleanRequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.sessions.middleware.SessionLifeMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "organization.web.time_zone.MemberTimeZoneMiddleware",
    "organization.web.last_stage.LastStageMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "accounts.second_factor.gate.SecondFactorGate",
    "portal.middleware.view_as.ViewAsMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.middleware.try_later.TryLaterMiddleware",
]
if DEBUG:
    MIDDLEWARE.append("portal.middleware.not_found.NotFoundPageMiddleware")

ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.shell.navigation.shell",
                "portal.shell.page_links.page_links",
                "portal.shell.second_factor.second_factor_of_member",
                "portal.shell.copy_banner.copy_banner",
                "portal.shell.stage_banner.stage_banner",
                "portal.shell.held_mail_banner.held_mail_banner",
                "portal.shell.test_list_banner.test_list_banner",
            ],
            "builtins": ["common.template_tags"],
        },
    }
]
# Our overrides of Django's form templates (templates/django/forms/) apply to every form.
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"


# For libpq: a database server that is lost is noticed within half a minute, and not when TCP gives up after hours.
_NOTICE_A_LOST_DATABASE = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# How long a process waits for PostgreSQL before it counts as away: to connect, and for one statement of a page or of the gateway.
DATABASE_CONNECT_TIMEOUT = env.positive("DATABASE_CONNECT_TIMEOUT", default=5)
DATABASE_STATEMENT_TIMEOUT = env.positive("DATABASE_STATEMENT_TIMEOUT", default=30)
DATABASE_WAITS = {"connect_timeout": DATABASE_CONNECT_TIMEOUT}


def database() -> dict[str, Any]:
    """The database named by DATABASE_URL.

    SQLite gets what it needs to be durable and to serve many threads; PostgreSQL parses and plans the statements that every
    email passes only once.
    """
    config = env.database("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'portal.sqlite3'}")
    if config["ENGINE"] == "django.db.backends.sqlite3":
        DATA_DIR.mkdir(mode=0o700, exist_ok=True)
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
        }
        # Tests use a file too: worker processes and threads must see the same data.
        config["TEST"] = {"NAME": env.str("TEST_DATABASE", default=str(DATA_DIR / "test.sqlite3"))}
    else:
        waits = {**_NOTICE_A_LOST_DATABASE, **DATABASE_WAITS}
        options = {"prepare_threshold": 5, **waits, **config.get("OPTIONS", {}), "server_side_binding": True}
        if str(options["prepare_threshold"]).lower() == "none":  # as a URL can say it
            options["prepare_threshold"] = None
        config["OPTIONS"] = options
    config["CONN_HEALTH_CHECKS"] = True
    config["CONN_MAX_AGE"] = 60
    return config


DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "organization.Member"
AUTHENTICATION_BACKENDS = ["organization.backends.RoleGrantBackend"]
# The first one hashes new passwords. Hashes of the others are replaced when their members sign in.
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "accounts.passwords.rules.NotRepetitive"},
    {"NAME": "accounts.passwords.rules.NotThePortalsWords"},
    {"NAME": "accounts.passwords.rules.NotTheCurrentOne"},
]

# Single sign-on with OpenID Connect. Empty: members sign in with their passwords.
OIDC_ISSUER = env.https_url("OIDC_ISSUER")
OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", default="")
OIDC_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", default="")
OIDC_SCOPES = env.str("OIDC_SCOPES", default="openid profile email")
OIDC_LABEL = env.str("OIDC_LABEL", default="single sign-on")
# Whether the provider's word for an address is enough to link a member who has no password here.
OIDC_LINK_BY_EMAIL = env.bool("OIDC_LINK_BY_EMAIL", default=False)
# The claim that lists a person's groups, and the roles that they stand for, as JSON.
OIDC_GROUPS_CLAIM = env.str("OIDC_GROUPS_CLAIM", default="groups")
OIDC_GROUP_GRANTS = env.group_grants("OIDC_GROUP_GRANTS")

# A session ends after so long without use, and after so long in any case (accounts/sessions).
SESSION_IDLE_MINUTES = env.positive("SESSION_IDLE_MINUTES", default=60, least=1)
SESSION_MAX_HOURS = env.positive("SESSION_MAX_HOURS", default=24, least=1)
SESSION_COOKIE_AGE = SESSION_MAX_HOURS * 60 * 60

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False  # there is English alone
USE_THOUSAND_SEPARATOR = True

STATIC_URL = "/static/"
STATIC_ROOT = None if DEBUG else BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG

# A pasted list of 10,000 addresses must get our answer ("at most 100"), not Django's bare 400.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$"]
# Whose X-Forwarded-For and X-Forwarded-Proto count: portal/middleware/trusted_proxies.py. BEHIND_PROXY is the older way
# to say it, and trusts everyone.
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
TRUSTED_PROXIES = env.proxies("TRUSTED_PROXIES", default="0.0.0.0/0,::/0,unix" if BEHIND_PROXY else "")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=365 * 24 * 60 * 60) if HTTPS else 0
# Whether other hosts of the domain speak HTTPS too is for their owners to say.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
X_FRAME_OPTIONS = "DENY"
DEFAULT_EXCEPTION_REPORTER_FILTER = "portal.error_reports.NothingTyped"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "frame-src": [SELF],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
        "base-uri": [NONE],
    }
}

LOG_FORMAT = env.choice("LOG_FORMAT", "console", "json")
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL")
# Whether log lines may name recipients and senders in full; else they are masked, as for members who may not see them.
LOG_ADDRESSES = env.bool("LOG_ADDRESSES", default=False)
LOGGING = log_config(LOG_FORMAT, LOG_LEVEL)
# One line a request, when it is finished.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False  # portal/middleware/trusted_proxies.py says whose address counts

if not DEBUG:
    env.refuse_misspelled()
