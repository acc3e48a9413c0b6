"""What a study's records say, as tables and sentences; rebuilt at any time, without torch."""
