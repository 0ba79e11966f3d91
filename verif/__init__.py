"""cocotb testbenches, drivers, monitors and the simulator runner."""
