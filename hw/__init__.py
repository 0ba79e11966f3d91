"""The chiplet in Amaranth: what is built."""
