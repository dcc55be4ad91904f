"""Delivery on several machines: `celery -A portal worker` replaces `manage.py deliver`, and `celery -A portal beat` keeps time.

Celery only wakes workers up: see docs/development/decisions/0009-celery-only-wakes-workers.md.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, signals
from celery.schedules import crontab
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from portal import checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

log = structlog.get_logger(__name__)

_FOLDER = "filesystem://"


def transport_options(url: str) -> dict[str, Any]:
    """Return kombu's options for the broker at `url`. Makes the folders that a `filesystem://` broker needs."""
    if url.startswith(_FOLDER):
        folder = Path(url.removeprefix(_FOLDER) or settings.DATA_DIR / "broker")
        control = folder / "control"
        control.mkdir(parents=True, exist_ok=True)
        return {"data_folder_in": folder, "data_folder_out": folder, "control_folder": control, "polling_interval": 0.1}
    if url.startswith(("redis", "sentinel")):
        return {"socket_connect_timeout": 2.0, "socket_timeout": 5.0}  # a broker that hangs counts as unavailable
    return {}


def make_app(url: str) -> Celery:
    """Return Celery with the broker at `url`. Raises ImproperlyConfigured if `url` is empty."""
    if not url:
        raise ImproperlyConfigured("CELERY_BROKER_URL is empty, so Celery has nothing to do. Run manage.py deliver instead.")
    app = Celery("portal", broker=_FOLDER if url.startswith(_FOLDER) else url, include=["portal.tasks"])
    app.conf.update(
        broker_transport_options=transport_options(url),
        broker_connection_timeout=2.0,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a broker may be unavailable for a weekend
        task_default_queue="email",
        task_acks_late=True,
        task_ignore_result=True,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        beat_schedule_filename=str(settings.DATA_DIR / "celerybeat-schedule"),
    )
    return app


app = make_app(settings.CELERY_BROKER_URL)
app.set_default()  # in every thread, not only in this one


@app.on_after_finalize.connect
def keep_time(sender: Celery, **_: Any) -> None:
    """Give housekeeping's table to beat. It happens here because the table needs the models, which are loaded only now."""
    from portal.housekeeping import JOBS

    sender.conf.beat_schedule = {
        job.name: {
            "task": "portal.tasks.run_job",
            "args": [job.name],
            "schedule": crontab(hour="3", minute="0") if job.nightly else job.every,
            "options": {} if job.nightly else {"expires": job.every},  # a late run does no more than the next one
        }
        for job in JOBS
    }


@signals.celeryd_init.connect
@signals.beat_init.connect
def refuse_published_keys(**_: Any) -> None:
    """Refuse published keys in Celery's processes only. The portal's other processes load this module too."""
    checks.refuse_published_keys()


@signals.setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Keep Django's logging. Celery would set up its own."""


@signals.beat_init.connect
def tell_that_beat_runs(**_: Any) -> None:
    log.info("beat_started")


@signals.celeryd_init.connect
def say_it_in_our_form(**_: Any) -> None:
    """Write Celery's message about its stop in our form.

    Celery prints it in a signal handler, where logging isn't allowed. So we write to the stream too.
    """
    from celery.apps import worker

    if settings.LOG_FORMAT == "json":
        worker.safe_say = lambda text, *_: os.write(2, json.dumps({"event": text, "level": "info"}).encode() + b"\n")


@signals.worker_process_init.connect
def stand_by(**_: Any) -> None:
    from common import process
    from delivery import standby

    process.freeze_gc()
    process.disable_seqscan()
    process.keep_no_statements()
    process.leave_no_lock_behind()
    standby.start()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def stand_down(**_: Any) -> None:
    from delivery import standby

    standby.stop()
