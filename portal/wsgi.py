"""The web process: `gunicorn portal.wsgi`."""

import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
application = get_wsgi_application()

from common.process import freeze_gc, limit_waits  # noqa: E402  # needs the settings
from portal.checks import refuse_published_keys  # noqa: E402

# gunicorn starts a worker that ends with another code again and again.
_GUNICORN_GIVES_UP = 3
refuse_published_keys(_GUNICORN_GIVES_UP)
limit_waits()
# Django would load the pages with the first request. A full collection of what stays anyway takes as long as a large page.
import_module(settings.ROOT_URLCONF)
freeze_gc()
