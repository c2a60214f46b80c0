"""The benchmarks: what the service reaches, as ratios to what the same machine reaches with the database alone."""
