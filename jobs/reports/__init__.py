"""Reports: what an organization's rollups say about a period, as JSON, PDF and Excel."""
