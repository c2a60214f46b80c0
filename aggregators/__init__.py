"""Pure: events in, rows out. The only place that knows polars' group_by; no I/O, no clock."""
