"""Offline tools that turn a trained checkpoint into an image a chiplet can run."""
