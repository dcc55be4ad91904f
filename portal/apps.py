from django.apps import AppConfig
from django.conf import settings


class PortalConfig(AppConfig):
    name = "portal"

    def ready(self) -> None:
        from portal import checks  # noqa: F401  # registers the deployment checks

        if settings.CELERY_BROKER_URL:
            from portal import celery  # noqa: F401  # makes it the app that portal.tasks belong to
