"""WebSockets, as ModelCompare and OpsSight ask for them, on the same topics as the streams."""
