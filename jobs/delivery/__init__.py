"""Finished reports on their way: into a folder or a bucket, by mail, to webhooks."""
