"""Trust in the netlist: what is emitted, what synthesis makes of it, and proofs that both are one."""
