"""Organizations: what they are called, who is in them, whom they invited."""
