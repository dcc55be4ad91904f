"""The web process: `gunicorn portal.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
application = get_wsgi_application()

from common.process import limit_waits  # noqa: E402  # needs the settings
from portal.checks import refuse_published_keys  # noqa: E402

# gunicorn starts a worker that ends with another code again and again.
_GUNICORN_GIVES_UP = 3
refuse_published_keys(_GUNICORN_GIVES_UP)
limit_waits()
