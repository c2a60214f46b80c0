"""What runs without a request. The only place that knows APScheduler."""
