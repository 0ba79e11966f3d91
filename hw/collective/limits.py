"""Sizes of the collective engine that the compiler knows, too."""

#: Beats of a packet's payload at most: of a chunk.
MAX_CHUNK = 32
#: Beats of each ring that a chip keeps before its engine takes them: what a sender may be ahead.
RING_BEATS = 128
