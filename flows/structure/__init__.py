"""What the structure of the emitted design says: paths at its ports, crossings between its clocks."""
