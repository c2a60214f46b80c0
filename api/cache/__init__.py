"""Polling is nearly free: answers that are kept until a commit changes them."""
