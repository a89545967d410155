"""The objective of the shared space's codec: planes through one latent at 1/16, at every rate.

::

    x ─► E ─► z_b, z_t ─► analysis ─► y ─► hyperprior(q) ─► y_hat ─► synthesis ─► planes' ─┬─► D ─► picture error
    (frozen)      └───────────── whitened plane error ──────────────────────────────┘      └─► heads ─► task errors
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from smalto.codecs.hyperprior import LITE, HyperpriorConfig, MeanScaleHyperprior
from smalto.codecs.plane_transform import PlaneAnalysis, PlaneSynthesis, PlaneTransformConfig
from smalto.errors import UsageError
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.segment import Segmenter
from smalto.layers.shared_planes import CHANNELS, SharedPlanes
from smalto.measure.whitening import Whitening
from smalto.train.levels import draw_levels, lambda_of
from smalto.train.run import StepResult
from smalto.train.space_head import FrozenSpace, SpaceHeadObjective, SpaceNetworks

_MIDDLE_LAMBDA = 0.0086
_PICTURE_POWER = 0.06  # variance of pictures in [0, 1]: brings relative errors to the size of squared differences
_STATISTICS_BATCHES = 8

Heads = Mapping[str, nn.Module]


@dataclass(frozen=True)
class PlaneCodecConfig:
    """What the codec is trained for.

    Args:
        transform: layers around the hyperprior.
        codec: layers of the hyperprior.
        plane_weight: of the planes' whitened error beside the picture's squared error.
        task_weight: of each head's error beside it.
        lambdas: weight of the distortion at q = 0 and at q = 255; between them its logarithm is linear in q.
        trained: ``synthesis`` leaves analysis and hyperprior as the image codec's, and of the synthesis the layers
            beyond 1/2 as the space's, so that the file that ships is small; ``all`` trains everything.
    """

    transform: PlaneTransformConfig = field(default_factory=PlaneTransformConfig)
    codec: HyperpriorConfig = LITE
    plane_weight: float = 0.1
    task_weight: float = 0.1
    lambdas: tuple[float, float] = (0.0004, 0.0935)
    trained: Literal["synthesis", "all"] = "synthesis"


class PlaneCodecObjective(SpaceHeadObjective):
    """Analysis, hyperprior and synthesis with the loss ``bpp + lambda(q) D``.

    Math: ``D = 255^2 (MSE[x, D(z')] + P (w_z e(z', z) + w_t sum_tasks e(F(z'), F(z))))`` with e the whitened relative
    error of planes or a head's own error and P the power of pictures; weighed over rates as in ``CodecObjective``.

    Source: ours; the Shared Neural Space paper stores its planes as they are.

    Args:
        networks: gives encoder and decoder of the space.
        config: layers and weights.
        heads: gives heads by task, frozen, whose answers count; None trains without them.
    """

    def __init__(
        self,
        networks: SpaceNetworks,
        config: PlaneCodecConfig | None = None,
        heads: Callable[[], Heads] | None = None,
    ) -> None:
        super().__init__(networks)
        self.config = config or PlaneCodecConfig()
        self.analysis = PlaneAnalysis(self.config.transform)
        self.synthesis = PlaneSynthesis(self.config.transform)
        self.codec = MeanScaleHyperprior(self.config.codec)
        self.whiten_b, self.whiten_t = Whitening(CHANNELS), Whitening(CHANNELS)
        kept = (self.analysis, self.codec, self.synthesis.enc_t, self.synthesis.dec_t)
        for part in kept if self.config.trained == "synthesis" else ():
            part.requires_grad_(False)
        found = {} if heads is None else heads()
        for task, head in found.items():
            if not isinstance(head, Denoiser | LightDenoiser | Segmenter):
                raise UsageError(f"{task}: {type(head).__name__} reads no planes; name a head of the space")
        self._heads = ({task: head.eval().requires_grad_(False) for task, head in found.items()},)

    @property
    def space(self) -> FrozenSpace:
        """The space; there always is one.

        Raises:
            UsageError: the objective was built without.
        """
        if self.frozen is None:
            raise UsageError("a codec of planes needs its space; name one with --set space=RUN")
        return self.frozen

    def trained_parameters(self) -> list[nn.Parameter]:
        """What training changes."""
        if self.config.trained == "all":
            return list(self.parameters())
        kept = ("enc_t.", "dec_t.")
        return [parameter for name, parameter in self.synthesis.named_parameters() if not name.startswith(kept)]

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Move the heads along with the codec."""
        for head in self._heads[0].values():
            head._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def start(self, batches: Iterator[Tensor]) -> None:
        """Measure the planes' covariance; take the image codec's networks and the space's encoder."""
        from smalto.train.plane_codec_start import start_from_image_codec

        pictures = torch.cat([next(batches) for _ in range(_STATISTICS_BATCHES)])
        planes = self.space.planes(pictures)
        self.whiten_b.fit(planes.z_b)
        self.whiten_t.fit(planes.z_t)
        start_from_image_codec(self, pictures, planes)

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 3, S, S) in [0, 1]; S a multiple of 64."""
        q = draw_levels(batch.shape[0], batch.device, None)
        planes = self.space.planes(batch)
        estimate = self.codec.estimate(self.analysis(planes), q)
        decoded = self.synthesis(estimate.y_hat)
        picture = self.space.decoder(decoded)
        num_pixels = batch.shape[2] * batch.shape[3]
        bpp = (estimate.y_bits + estimate.z_bits) / num_pixels
        squared = (picture - batch).square().mean(dim=(1, 2, 3))
        plane = 0.5 * (self.whiten_b.error(decoded.z_b, planes.z_b) + self.whiten_t.error(decoded.z_t, planes.z_t))
        tasks = self._task_errors(decoded, planes)
        extra = self.config.plane_weight * plane + self.config.task_weight * sum(
            tasks.values(), torch.zeros_like(plane)
        )
        weight = lambda_of(q, self.config.lambdas)
        distortion = 255**2 * (squared + _PICTURE_POWER * extra)
        loss = ((weight / _MIDDLE_LAMBDA) ** -0.5 * (bpp + weight * distortion)).mean()
        measures = {
            "bpp": bpp.detach().mean(),
            "psnr_db": (-10 * torch.log10(squared.detach().clamp_min(1e-10))).mean(),
            "plane_error": plane.detach().mean(),
        }
        measures |= {f"{task}_error": error.detach().mean() for task, error in tasks.items()}
        return StepResult(loss, measures)

    def _task_errors(self, decoded: SharedPlanes, planes: SharedPlanes) -> dict[str, Tensor]:
        """How much heads answer differently from decoded planes: (B,) by task.

        Classes are compared as probabilities, clean planes as the pictures they decode to.
        """
        errors = {}
        for task, head in self._heads[0].items():
            answer = head(decoded)
            with torch.no_grad():
                ideal = head(planes)
                shown = ideal if isinstance(head, Segmenter) else self.space.decoder(ideal)
            if isinstance(head, Segmenter):
                errors[task] = _divergence(answer.float(), shown.float())
            else:
                errors[task] = (self.space.decoder(answer) - shown).square().mean(dim=(1, 2, 3)) / _PICTURE_POWER
        return errors

    def preview(self, batch: Tensor) -> Tensor:
        """Each picture, then what its planes decode to at q 51, 102 and 204, side by side."""
        y = self.analysis(self.space.planes(batch))
        columns = [batch]
        for level in (51, 102, 204):
            q = torch.full((batch.shape[0],), float(level), device=batch.device)
            decoded = self.synthesis(self.codec.estimate(y, q).y_hat)
            columns.append(self.space.decoder(decoded).clamp(0, 1))
        return torch.cat(list(torch.cat(columns, dim=3)), dim=1)  # (3, B S, 4 S)

    def load_installed(self, system: str) -> None:
        """Take the installed codec of the space.

        Raises:
            UsageError: the system has none.
        """
        from smalto.train.release_latent import load_latent

        load_latent(self, system)


def _divergence(answer: Tensor, ideal: Tensor) -> Tensor:
    """Kullback-Leibler divergence of class probabilities (B, K, h, w), in nats, a mean over positions: (B,)."""
    certain, found = ideal.log_softmax(dim=1), answer.log_softmax(dim=1)
    return (certain.exp() * (certain - found)).sum(dim=1).mean(dim=(1, 2))
