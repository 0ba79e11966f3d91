"""Matrix engine: weight store, systolic array, and the drain below it."""
