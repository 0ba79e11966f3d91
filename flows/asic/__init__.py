"""Synthesis against a Liberty library, static timing, and the report by block."""
