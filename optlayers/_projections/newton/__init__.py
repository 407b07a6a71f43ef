"""Semismooth Newton on the dual: any block with several rows."""
