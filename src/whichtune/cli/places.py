"""Where commands look when they are not told."""

from __future__ import annotations

from pathlib import Path

RUNS = Path("runs")
"""Folder of the studies."""
