"""python -m tests.interop.web MAILS SECONDS: sends so many mails through Django's mail API, with a pause after each, and
prints one JSON object for each that was accepted: `message_id`, `accepted` (a time), `seconds` (how long the call took)."""

from __future__ import annotations

import json
import os
import sys
import time

import django
from django.core.mail import EmailMessage, make_msgid

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")


def main(mails: int, pause: float) -> None:
    for _ in range(mails):
        message_id = make_msgid(domain="acme.example")
        mail = EmailMessage("Hello", "Hi", "crm@acme.example", ["customer@example.com"], headers={"Message-ID": message_id})
        began = time.monotonic()
        mail.send()
        seconds = time.monotonic() - began
        print(json.dumps({"message_id": message_id, "accepted": time.time(), "seconds": seconds}), flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]), float(sys.argv[2]))
