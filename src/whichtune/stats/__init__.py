"""Metrics and intervals: every figure that is more than a sum, computed with NumPy and SciPy alone."""
