"""The commands of the front door that need more than a line."""
