"""The report as one page that opens offline: charts, tables and an example browser in a single file."""
