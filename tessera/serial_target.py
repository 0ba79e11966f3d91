"""`tessera run --target serial:PORT`: the generation on a board, followed by the golden model."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from compiler.image import ChipImage
from compiler.workload import generation_macs
from golden.llama import GoldenLlama
from golden.quantized import QuantizedLlama
from golden.sampler import Sampler, temperature_register
from hw.config import ChipletConfig
from tessera.board import Board, FaultError
from tessera.engines import Request, Result, predicted_cycles, utilization
from tessera.report import progress_bar
from tessera.serial_link import SerialLink

_SCHEME = "serial:"


def port_of(target: str) -> str:
    """Return the port that --target names."""
    if not target.startswith(_SCHEME) or target == _SCHEME:
        raise ValueError(
            f"--target must be serial:PORT, such as serial:/dev/ttyUSB0, not {target!r}"
        )
    return target.removeprefix(_SCHEME)


@contextmanager
def connected(target: str, baud: int, config: ChipletConfig) -> Iterator[Board]:
    """Open the port and make sure that the chip behind it is of the configuration."""
    link = SerialLink(port_of(target), baud)
    try:
        board = Board(link, config)
        board.identify()
        yield board
    finally:
        link.close()


def load(board: Board, image: ChipImage) -> None:
    """Load a model, and show how far it is."""
    with progress_bar("loading the chip") as report:
        board.load(image, report)


class Follower:
    """The golden model, token by token behind the chip."""

    def __init__(self, quantized: QuantizedLlama, request: Request) -> None:
        self._model = GoldenLlama(quantized)
        self._sampler = Sampler(temperature_register(request.temperature), request.seed)
        self._block = list(request.prompt)
        self.logits = np.zeros(0, np.int64)
        self.first_difference: str | None = None

    def check(self, token: int) -> bool:
        """Return whether golden writes the same token; go on with the chip's."""
        self.logits = self._model.step_block(self._block)[-1]
        want = self._sampler.choose(self.logits)
        if token != want and self.first_difference is None:
            self.first_difference = (
                f"token at position {self._model.position}: got {token}, want {want}"
            )
        self._block = [token]
        return token == want

    def check_logits(self, got: np.ndarray) -> None:
        """Compare the logits of the last token."""
        wrong = np.flatnonzero(got != self.logits)
        if len(wrong) and self.first_difference is None:
            at = wrong[0]
            self.first_difference = (
                f"logit {at} of the last token: got {got[at]}, want {self.logits[at]} "
                f"({len(wrong)} of {len(got)} differ)"
            )


def run_board(
    board: Board,
    image: ChipImage,
    quantized: QuantizedLlama,
    request: Request,
    on_token: Callable[[int, bool], None],
) -> Result:
    """Generate on a board that holds the image; `on_token` gets each token and if golden agrees."""
    follower, result = Follower(quantized, request), Result()
    began = time.perf_counter()
    cycles_at = {0: 0}
    board.start(image, request)
    try:
        for progress in board.follow(image, len(request.prompt)):
            cycles_at |= progress.cycles_at
            result.seconds = time.perf_counter() - began
            for token in progress.tokens[len(result.tokens) :]:
                result.tokens.append(token)
                on_token(token, follower.check(token))
    except FaultError as fault:
        # A token that is wrong says more than the fault that it led to.
        if follower.first_difference is None:
            raise
        raise FaultError(f"{fault}, after the {follower.first_difference}") from None
    if result.tokens:
        follower.check_logits(board.logits(image))
    result.counters = board.counters()
    count, result.total_cycles = len(result.tokens), result.counters["cycles"]
    cycles_at[count] = result.counters["token_cycles"]
    result.generation_cycles = cycles_at[count]
    if len(cycles_at) == count + 1:
        result.cycles_per_token = [cycles_at[n + 1] - cycles_at[n] for n in range(count)]
    result.first_token_cycles = cycles_at.get(1)
    result.predicted_cycles_per_token = predicted_cycles(image, len(request.prompt), count)
    result.saturations = result.counters["saturations"]
    result.first_difference = follower.first_difference
    result.bit_exact = result.first_difference is None
    result.line_retries = board.link.statistics.retries
    macs = generation_macs(quantized.shape, len(request.prompt), count)
    result.mac_utilization = utilization(sum(macs), image.config, result.generation_cycles)
    return result
