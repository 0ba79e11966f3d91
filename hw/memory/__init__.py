"""On-chip SRAM: the one place that knows about memories."""
