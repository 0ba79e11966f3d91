"""Which event means what in a compiled program.

A wait covers every signal of its event that was issued before, so an event may serve several
purposes if all but the latest have long completed.
"""

import enum


class Event(enum.IntEnum):
    """Events by the result that they announce."""

    RESIDUAL = 1
    NORM = 2
    KEY = 3
    QUERY = 4
    KEY_ROTATED = 5
    QUERY_ROTATED = 6
    VALUE = 7
    SCORES = 8
    TOKEN = 9
    #: A chip's share of a sum; the token is known by then, and not yet drawn again.
    PARTIAL = 9
    #: A KV head's weighted values; the norm's is free by then.
    ATTENTION = 2
    #: A group's gate and up; the scores' is free by then.
    GATE_UP = 8


#: Softmax of a KV head or SwiGLU of a group, in turn; the named ones are free by then.
IN_FLIGHT = (10, 11, 12, 13, 14, 15, Event.KEY, Event.QUERY)


def rotated_event(part: int) -> int:
    """Return the event of a part of the queries; those of the norm are free by then."""
    return (Event.QUERY_ROTATED, Event.NORM)[min(part, 1)]
