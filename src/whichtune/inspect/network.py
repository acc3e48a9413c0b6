"""Which of the two places that studies download from can be reached, within a bounded time."""

from __future__ import annotations

import configparser
import os
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from whichtune.inspect.finding import Finding

SECONDS = 1.5
"""Longest wait for both places together."""

INDEX = "https://pypi.org/simple"
HUB = "https://huggingface.co"
YES = {"1", "on", "yes", "true"}


def check_network(seconds: float = SECONDS) -> list[Finding]:
    """Ask the package index and the model hub for an answer, side by side."""
    places = {"package index": find_index(), "model hub": os.environ.get("HF_ENDPOINT", HUB)}
    troubles = ask_all([url for url in places.values() if url is not None], seconds)
    index, hub = places.values()
    return [
        _tell_index(index, None if index is None else troubles[index]),
        _tell_hub(str(hub), troubles[str(hub)]),
    ]


def _tell_index(url: str | None, trouble: str | None) -> Finding:
    if url is None:
        return Finding("network", "package index", "note", "switched off by PIP_NO_INDEX")
    if trouble is None:
        return Finding("network", "package index", "ok", f"{name_place(url)} answers")
    remedy = "weights and data from packages must be in the cache already"
    return Finding("network", "package index", "note", f"{name_place(url)}: {trouble}", remedy)


def _tell_hub(url: str, trouble: str | None) -> Finding:
    remedy = "models and data from folders, packages and the cache still work"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in YES:
        return Finding("network", "model hub", "note", "switched off by HF_HUB_OFFLINE", remedy)
    if trouble is None:
        return Finding("network", "model hub", "ok", f"{name_place(url)} answers")
    return Finding("network", "model hub", "note", f"{name_place(url)}: {trouble}", remedy)


def find_index() -> str | None:
    """Return the package index pip would use, or None where it is told to use none."""
    if os.environ.get("PIP_NO_INDEX", "").lower() in YES:
        return None
    if "PIP_INDEX_URL" in os.environ:
        return os.environ["PIP_INDEX_URL"]
    named = [_read_index(path) for path in list_pip_files()]
    return next((url for url in reversed(named) if url), INDEX)


def list_pip_files() -> list[Path]:
    """Return pip's configuration files on this system, the later ones going before the earlier."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME", home / ".config"))
    files = [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    files.append(Path(sys.prefix) / "pip.conf")
    return [*files, Path(os.environ["PIP_CONFIG_FILE"])] if "PIP_CONFIG_FILE" in os.environ else files


def _read_index(path: Path) -> str | None:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):
        return None
    return parser.get("global", "index-url", fallback=None)


def ask_all(urls: list[str], seconds: float) -> dict[str, str | None]:
    """Return what is wrong with each place, None where it answers; name look-up has no time limit, so threads have."""
    troubles: dict[str, str | None] = dict.fromkeys(urls, f"no answer within {seconds:g} s")

    def ask(url: str) -> None:
        troubles[url] = find_trouble(url, seconds)

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in troubles]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(troubles)


def find_trouble(url: str, seconds: float) -> str | None:
    """Ask one place, through the proxies of the environment; any answer of a server counts as reached."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return None if Path(parts.path).exists() else "no such folder"
    if parts.scheme not in ("http", "https"):
        return f"a scheme that is not looked at ('{parts.scheme}')"
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        with urllib.request.urlopen(urllib.request.Request(plain, method="HEAD"), timeout=seconds):  # noqa: S310
            return None
    except urllib.error.HTTPError as answer:
        answer.close()
        return None
    except (OSError, ValueError) as error:
        return _explain(error)


def _explain(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError):
        return "answers, but its certificate is not trusted here"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return f"not reachable ({getattr(reason, 'strerror', None) or reason})"


def name_place(url: str) -> str:
    """Return the host of an address, without what a user may have put in front of it."""
    parts = urlsplit(url)
    return parts.hostname or parts.path
