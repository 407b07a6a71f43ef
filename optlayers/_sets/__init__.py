"""Structured sets: each decodes exactly and names the polytope its gradient is projected onto."""
