"""Numpy models of what the chiplet computes: the float reference and the bit-exact integers."""
