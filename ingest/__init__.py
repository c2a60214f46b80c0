"""Events in: contracts, collectors and the log. The only place that knows aiokafka."""
