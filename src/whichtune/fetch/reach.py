"""Whether the package index and the model hub answer from here: asked briefly, never raising."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_INDEX = "https://pypi.org/simple"
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Reach:
    """Whether an address answered."""

    address: str
    """Without user name and password."""
    reached: bool
    reason: str
    """Why not; empty where it answered."""


def reach_index(timeout_seconds: float = 3.0) -> Reach:
    """Ask the package index that pip is configured to use."""
    settings = _pip_settings()
    address = settings.get("index-url", _INDEX)
    if settings.get("no-index", "").lower() in ("1", "true", "yes"):
        return Reach("none", reached=False, reason="pip is configured with no-index")
    return reach(address.rstrip("/") + "/", timeout_seconds=timeout_seconds, certificates=settings.get("cert"))


def reach_hub(timeout_seconds: float = 3.0) -> Reach:
    """Ask the Hugging Face hub, or the endpoint set in its place."""
    address = os.environ.get("HF_ENDPOINT") or _HUB
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Reach("none", reached=False, reason="HF_HUB_OFFLINE is set")
    return reach(address, timeout_seconds=timeout_seconds)


def reach(address: str, *, timeout_seconds: float, certificates: str | None = None) -> Reach:
    """Ask one address; any answer counts, an error page too. The whole question takes at most the time given."""
    try:
        shown, parts = _without_secrets(address), urlsplit(address)
    except ValueError as error:
        return Reach("an address that cannot be read", reached=False, reason=str(error))
    if parts.scheme == "file":
        there = Path(parts.path).exists()
        return Reach(shown, reached=there, reason="" if there else "no such folder")
    if parts.scheme not in ("http", "https"):
        return Reach(shown, reached=False, reason="not an http address")
    answers: list[str] = []
    # A name that does not resolve can block for longer than any socket's time-out, so a thread that may be left asks.
    asker = threading.Thread(target=lambda: answers.append(_ask(address, timeout_seconds, certificates)), daemon=True)
    asker.start()
    asker.join(timeout_seconds)
    reason = answers[0] if answers else f"no answer within {timeout_seconds:g} s"
    return Reach(shown, reached=not reason, reason=reason)


def _ask(address: str, timeout_seconds: float, certificates: str | None) -> str:
    """Return why an address does not answer, or an empty string."""
    try:
        context = ssl.create_default_context(cafile=certificates or None)
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - the scheme was checked
        with urllib.request.urlopen(request, timeout=timeout_seconds, context=context):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return ""
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", None) or error) or type(error).__name__


def _pip_settings() -> dict[str, str]:
    """Read pip's configuration and environment, the environment first; empty where pip does not answer."""
    found: dict[str, str] = {}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, encoding="utf-8",
            errors="replace", timeout=20, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return found
    for line in done.stdout.splitlines():
        match = re.match(r"(global|download|:env:)\.([a-z-]+)='(.*)'$", line.strip())
        if match:
            found[match[2]] = match[3]
    return found


def _without_secrets(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
