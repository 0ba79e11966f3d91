"""From a configuration to a bitstream for the ULX3S board, with open tools (docs/fpga.md)."""
