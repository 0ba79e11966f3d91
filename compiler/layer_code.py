"""The instructions of one layer for blocks of at most so many tokens."""

from compiler.attention_code import AttentionCode
from compiler.feed_forward_code import FeedForwardCode


class LayerCode(AttentionCode, FeedForwardCode):
    """Emits a layer from residual to residual."""

    def emit(self) -> None:
        """Emit the layer whose bank word is in r5 and whose multiplier beat is in r6."""
        phase, mode = self.e.phase, self.mode
        phase(f"{mode}: attention norm")
        self.norm("attention_norm")
        self.shifts.emit(self.e)  # while the array waits for the norm
        self.attention()
        phase(f"{mode}: feed-forward norm")
        self.norm("ffn_norm")
        phase(f"{mode}: feed-forward")
        self.feed_forward()
