"""What trials leave on disk; every number in a report is computed from here, without torch."""
