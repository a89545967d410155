"""Running networks: device, precision, and windows that bound memory without changing the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smalto.errors import UsageError

WINDOW_PX = 2048
_NATIVE_BFLOAT16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of torch.cpu, in versions that have them


@dataclass
class StageTimes:
    """Seconds spent in each stage of a call, in order; hand one in to have it filled."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the block to ``stage``."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies in it natively, float32 elsewhere (emulation is slower than float32)."""
    native = False
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu" and torch.backends.mkldnn.is_available():
        native = any(getattr(torch.cpu, name, _no)() for name in _NATIVE_BFLOAT16)
    return torch.bfloat16 if native else torch.float32


def _no() -> bool:
    return False


@dataclass(frozen=True)
class Engine:
    """Where and how networks run.

    Args:
        device: torch device.
        dtype: float32 or bfloat16, for encoders and picture heads; codecs always run in float32 and integers.
        window_px: side of the windows that large pictures are run in, in picture pixels.
    """

    device: torch.device
    dtype: torch.dtype
    window_px: int = WINDOW_PX

    @classmethod
    def on(cls, device: str = "cpu", dtype: torch.dtype | None = None) -> Engine:
        """An engine for a device; ``dtype`` None chooses by ``fast_dtype``.

        Raises:
            UsageError: the device does not exist, or the dtype is neither float32 nor bfloat16.
        """
        try:
            place = torch.device(device)
            torch.empty(1, device=place)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"device {device!r} cannot be used ({str(error).splitlines()[0]}); try 'cpu'") from error
        chosen = fast_dtype(place) if dtype is None else dtype
        if chosen not in (torch.float32, torch.bfloat16):
            raise UsageError(f"dtype {chosen} is not supported; use torch.float32 or torch.bfloat16")
        return cls(place, chosen)

    def precision(self) -> AbstractContextManager[object]:
        """Autocast to the engine's dtype."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    @torch.inference_mode()
    def run(
        self,
        network: Callable[[Tensor], Tensor],
        x: Tensor,
        window: int,
        halo: int,
        ratio: tuple[int, int],
        align: int = 1,
    ) -> Tensor:
        """Apply a convolutional network, in windows when the input is larger than one.

        Args:
            network: (1, C, h, w) -> (1, C', h up / down, w up / down), of any type of number.
            x: its input.
            window: largest side of a window in input cells, a multiple of ``down``; windows are of nearly equal size.
            halo: input cells of context on each side, at least the receptive field; a multiple of ``down``.
            ratio: (up, down): output cells per input cell.
            align: windows and halos begin at multiples of this many input cells, of which ``down`` is a divisor or 1.

        Returns:
            What ``network(x)`` would give.
        """
        up, down = ratio
        x = x.to(self.device)
        height, width = x.shape[2], x.shape[3]
        if max(height, width) <= window + 2 * halo:
            with self.precision():
                return network(x.contiguous(memory_format=torch.channels_last))
        out: Tensor | None = None
        unit, halo = max(align, down), -(-halo // align) * align
        window_rows, window_columns = _even(height, window, unit), _even(width, window, unit)
        for top in range(0, height, window_rows):
            for left in range(0, width, window_columns):
                bottom, right = min(top + window_rows, height), min(left + window_columns, width)
                first_row, first_column = max(top - halo, 0), max(left - halo, 0)
                part = x[:, :, first_row : min(bottom + halo, height), first_column : min(right + halo, width)]
                with self.precision():
                    y = network(part.contiguous(memory_format=torch.channels_last))
                rows = slice((top - first_row) * up // down, (bottom - first_row) * up // down)
                columns = slice((left - first_column) * up // down, (right - first_column) * up // down)
                if out is None:
                    shape = (1, y.shape[1], height * up // down, width * up // down)
                    out = torch.empty(shape, dtype=y.dtype, device=self.device, memory_format=torch.channels_last)
                target = out[:, :, top * up // down : bottom * up // down, left * up // down : right * up // down]
                target.copy_(y[:, :, rows, columns])
        return out  # type: ignore[return-value]  # the loops run at least once


def _even(size: int, window: int, multiple: int) -> int:
    """The side of nearly equal windows of at most ``window`` that cover ``size``, a multiple of ``multiple``."""
    count = -(-size // window)
    return -(-size // (count * multiple)) * multiple


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (1, C, H, W), of any type, until both sides are multiples of ``multiple``."""
    down, right = -x.shape[2] % multiple, -x.shape[3] % multiple
    if down:
        x = torch.cat([x, x[:, :, -1:].expand(-1, -1, down, -1)], dim=2)
    return torch.cat([x, x[:, :, :, -1:].expand(-1, -1, -1, right)], dim=3) if right else x
