"""HTTP. The only place that knows the aiohttp server."""
