"""A new aiosmtpd must still have the private names that we use."""

from __future__ import annotations

import asyncio
import inspect
import re
from asyncio import sslproto

from aiosmtpd.smtp import SMTP

from gateway import aiosmtpd_overrides


def test_what_our_connection_uses_of_aiosmtpds_private_names_is_still_there():
    ours = {"_can_read", "_encoded", "_heard", "_implicit_tls", "_start_tls"}
    used = set(re.findall(r"self\.(_[a-z]\w+)", inspect.getsource(aiosmtpd_overrides)))
    loop = asyncio.new_event_loop()
    stock = SMTP(object(), loop=loop)
    stock._cb_client_connected(None, None)
    loop.close()
    assert {name for name in used if not hasattr(stock, name)} == ours
    assert hasattr(sslproto.SSLProtocol, "_get_app_transport")
