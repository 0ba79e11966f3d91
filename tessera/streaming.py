"""Text that appears token by token."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from compiler.checkpoint import Tokenizer
from tessera.report import output

#: What a decoder writes for bytes that are no character (yet).
UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class TextDecoder:
    """Turns a growing list of tokens into text, one piece per token.

    A token may end in the middle of a character, or change how the one before it is written, so
    the whole list is decoded again, and the end is held back while it is no character.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt)
        self._start = len(tokenizer.decode(self._ids))
        self._shown = self._start

    @property
    def text(self) -> str:
        """All text after the prompt."""
        return self._tokenizer.decode(self._ids)[self._start :]

    def push(self, token: int) -> str:
        """Take a token; return the text that is certain now."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        return self._new(text.rstrip(UNFINISHED))

    def finish(self) -> str:
        """Return what was held back."""
        return self._new(self._tokenizer.decode(self._ids))

    def _new(self, text: str) -> str:
        piece = text[self._shown :]
        self._shown = max(self._shown, len(text))
        return piece


class TextView:
    """Writes text as it comes; on a terminal, a line below it says how far the work is."""

    def __init__(self) -> None:
        self._line = ""
        self._status = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Start the display."""
        if output.is_terminal:
            self._live = Live(console=output, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the display, and the last line."""
        if self._live is not None:
            self._live.stop()
            output.print(self._line, markup=False)
        else:
            output.file.write("\n")
            output.file.flush()

    def write(self, text: str, status: str = "") -> None:
        """Show more text."""
        if self._live is None:
            output.file.write(text)
            output.file.flush()
            return
        # Finished lines move above the live part, which holds the current one and the status.
        *finished, self._line = (self._line + text).split("\n")
        for done in finished:
            self._live.console.print(done, markup=False)
        self._status = status or self._status
        rows = [Text(self._line), Text(self._status, style="dim")]
        self._live.update(Group(*rows), refresh=True)
