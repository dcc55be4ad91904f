#!/usr/bin/env python3
"""Django's command line for the portal: `python manage.py help` lists every command."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    from portal.command_line import run

    run(sys.argv)


if __name__ == "__main__":
    main()
