"""Sequencer: instruction set, program, scoreboard, faults."""
