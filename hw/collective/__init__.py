"""Collective operations over rings of chips."""
