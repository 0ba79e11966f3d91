"""The link layer: flits between two chips over wires that make errors."""
