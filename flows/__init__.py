"""Flows that take the emitted Verilog to a device or a cell library."""
