"""What goes into a page beside its words: data in script elements, the charts' library, a policy against requests."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from whichtune.fetch.atomic import write_text
from whichtune.fetch.cache import cache_root, fill
from whichtune.report.charts.style import load_vl_convert

BUNDLE = "vega.js"
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_json(value: Any) -> str:
    """Write data for a script element: no character in it can end the element or begin another one."""
    told = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign, escape in _ESCAPES.items():
        told = told.replace(sign, escape)
    return told


def read_part(name: str) -> str:
    """Return a file of the page that stands beside this module."""
    return files("whichtune.report.html").joinpath("parts", name).read_text(encoding="utf-8")


def load_bundle() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script; it is made once a version and kept in the cache.

    Raises InputError where vl-convert is not installed.
    """
    vl_convert: Any = load_vl_convert()
    versions = f"{vl_convert.get_vega_version()}-{vl_convert.get_vegalite_versions()[-1]}"
    entry = cache_root() / "report" / f"vega-{versions}-{vl_convert.__version__}"
    entry.parent.mkdir(parents=True, exist_ok=True)

    def make(folder: Path) -> None:
        write_text(folder / BUNDLE, _enclose(vl_convert.javascript_bundle()))

    return (fill(entry, make) / BUNDLE).read_text(encoding="utf-8")


def hash_script(text: str) -> str:
    """Return what a content security policy calls a script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _enclose(script: str) -> str:
    """Keep the bundle's names to itself, and any `</script` in it from ending its element."""
    return "(()=>{" + script.replace("</script", "<\\/script").replace("<!--", "<\\!--") + "\n})();"
