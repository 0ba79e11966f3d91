"""The command `tessera`: run, evaluate, compile and emit from one place."""

__version__ = "0.1.0"
