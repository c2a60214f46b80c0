"""Who pushes events in: the host's own metrics, imported files, the demo; and the client, spool and cadence they share."""
