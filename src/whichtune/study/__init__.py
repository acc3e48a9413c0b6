"""Plan, run and resume a study; keep its records."""
