"""From Verilog to silicon: ASIC synthesis and timing, FPGA bitstreams, checks of the netlist."""
