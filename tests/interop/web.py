"""python -m tests.interop.web MESSAGES SECONDS: send so many messages through Django's mail API.

It pauses after each message. For each accepted message it prints one JSON object: `message_id`, `accepted` (a time), and
`seconds` (how long the call took).
"""

from __future__ import annotations

import json
import os
import sys
import time

import django
from django.core.mail import EmailMessage, make_msgid

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")


def main(messages: int, pause: float) -> None:
    for _ in range(messages):
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
