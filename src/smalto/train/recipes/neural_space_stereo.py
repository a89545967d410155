"""Recipe of stereo depth on the shared neural space, and of its baseline on pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from smalto.data.batches import BatchSource
from smalto.data.camera_light import PhotometricConfig
from smalto.data.crops import CropConfig, cache_pictures
from smalto.data.stereo import stereo_files
from smalto.data.stereo_batches import StereoCropConfig, StereoCrops
from smalto.data.synthetic_stereo import SyntheticConfig, SyntheticStereo
from smalto.errors import UsageError
from smalto.train.release_raw_space import space_networks
from smalto.train.release_stereo import publish_stereo
from smalto.train.run import Optimisation, Run
from smalto.train.space_head import PIXELS
from smalto.train.stereo_depth import StereoObjective

_BETAS = {"soap": (0.95, 0.95), "adam": (0.9, 0.98)}
_UNIT_PX = 32


def neural_space_stereo(
    space: str = "neural-space",
    size: Literal["S", "M", "L"] = "S",
    scenes: Literal["synthetic", "pairs"] = "synthetic",
    learning_rate: float = 1e-3,
    batch_size: int = 4,
    height_px: int = 320,
    width_px: int = 640,
    max_disparity_px: float = 128.0,
    method: Literal["soap", "adam"] = "adam",
    coarse_weight: float = 0.3,
    num_threads: int = 2,
    seed: int = 0,
) -> Run:
    """Disparity from the planes of a finished ``neural-space`` run, whose encoder stays frozen, or from pixels.

    Command: ``smalto train neural-space-stereo --data CID22/training --minutes 120 --set space=runs/neural-space``
    Time: on pixels, size S, 1.3 s of one Zen 4 core a step of two pairs of 192 x 384 (bfloat16), beside 0.12 s a scene
    of 320 x 640; the frozen encoder comes on top in the space. A run to the end is not measured yet.
    Score: measured with ``smalto.bench.stereo``; to beat semi-global matching on eight Middlebury pairs: 12.16 %
    d1_all with blocks of 7 px, 10.36 % with blocks of 3 px.

    The baseline, trained equally, three seeds of each::

        for S in 0 1 2; do
          smalto train neural-space-stereo --data PHOTOS --minutes 120 --set space=runs/neural-space --set seed=$S
          smalto train neural-space-stereo --data PHOTOS --minutes 120 --set space=pixels --set seed=$S
        done

    The paper's own training set, SceneFlow final pass, crops of 320 x 736::

        smalto train neural-space-stereo --data SCENEFLOW --set scenes=pairs --set width_px=736

    Args:
        space: folder of a ``neural-space`` run, its ``space.safetensors``, an installed system's name, or ``pixels``.
        size: of the network.
        scenes: ``synthetic`` draws scenes with the photographs of --data as textures; ``pairs`` takes crops of the
            stereo pairs in --data.
        learning_rate: peak rate.
        batch_size: pairs a step and device.
        height_px: of a pair, a multiple of 32.
        width_px: of a pair, a multiple of 32.
        max_disparity_px: of synthetic scenes.
        method: optimiser.
        coarse_weight: weight of the bilinearly enlarged disparity's loss.
        num_threads: synthetic scenes drawn at once.
        seed: of scenes and initialisation.
    """
    if height_px % _UNIT_PX or width_px % _UNIT_PX:
        raise UsageError(f"height_px={height_px}, width_px={width_px}: must be multiples of {_UNIT_PX}")
    synthetic = SyntheticConfig(height_px, width_px, max_disparity_px, seed)
    crops = StereoCropConfig(height_px, width_px, seed, PhotometricConfig(noise=0.0))

    def source(data: Path, cache: Path, _: CropConfig) -> BatchSource:
        if scenes == "pairs":
            return StereoCrops(stereo_files(data), crops)
        return SyntheticStereo(cache_pictures(data, cache), synthetic, num_threads)

    settings = {
        "space": space,
        "size": size,
        "scenes": scenes,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "height_px": height_px,
        "width_px": width_px,
        "max_disparity_px": max_disparity_px,
        "method": method,
        "coarse_weight": coarse_weight,
        "num_threads": num_threads,
        "seed": seed,
    }
    return Run(
        name="neural-space-stereo",
        objective=lambda: StereoObjective(
            size, None if space == PIXELS else (lambda: space_networks(space)), coarse_weight
        ),
        crops=CropConfig(size_px=height_px, seed=seed),
        batch_size=batch_size,
        optimisation=Optimisation(learning_rate=learning_rate, method=method, betas=_BETAS[method]),
        publish=publish_stereo,
        settings=settings,
        source=source,
    )
