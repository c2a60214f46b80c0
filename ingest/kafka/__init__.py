"""Kafka as the log: topics, producer, consumer, dead letters. The only place that knows aiokafka."""
