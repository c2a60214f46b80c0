"""Streams: what clients are pushed."""
