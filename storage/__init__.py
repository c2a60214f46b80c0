"""PostgreSQL and TimescaleDB. The only place that knows psycopg (and duckdb, for the archive)."""
