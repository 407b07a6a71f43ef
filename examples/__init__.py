"""Runnable examples; `quickstart` is the one to read first."""
