"""The declaration: rows, right-hand sides and bounds."""
