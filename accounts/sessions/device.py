"""Say in a few words which browser a request came from."""

from __future__ import annotations

# The first that a User-Agent contains. Browsers name those that they resemble, so the order matters.
_BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "CriOS/": "Chrome",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
}
_SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}


def device_of(user_agent: str) -> str:
    """Such as “Firefox on Linux”. A browser may say anything, so it is a help for its owner and proves nothing."""
    browser = next((name for sign, name in _BROWSERS.items() if sign in user_agent), "Unknown browser")
    system = next((name for sign, name in _SYSTEMS.items() if sign in user_agent), "")
    return f"{browser} on {system}" if system else browser
