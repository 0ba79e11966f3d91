"""Host port: AXI4-Lite registers and the AXI4 memory window."""
