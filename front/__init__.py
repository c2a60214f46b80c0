"""The front door's rooms: settings, the wiring of the parts, and the commands that need more than a line."""
