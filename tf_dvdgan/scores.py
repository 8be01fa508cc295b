"""The Python interface to scores; `python -m tools.score` is the command."""

from collections.abc import Sequence
from typing import Unpack

from tf_dvdgan import errors, video_gan
from tf_dvdgan.evaluation.runs import comparison
from tf_dvdgan.evaluation.runs import scorer as scorer_lib


def score(
    real: str,
    generated: video_gan.VideoGAN | str,
    protocol: str,
    weights: str | Sequence[str] = (),
    *,
    truncation: float = 1.0,
    num_generated: int | None = None,
    num_real: int | None = None,
    num_repeats: int | None = None,
    **options: Unpack[scorer_lib.Options],
) -> comparison.Result:
    """Scores generated videos against real ones by a named protocol.

    docs/evaluation.md describes the protocols.

    Args:
      real: folder of prepared shards or of videos.
      generated: a GAN that was loaded or fitted, or a folder of videos.
      protocol: name of the protocol, such as "fid_small" or "fvd_unterthiner".
      weights: weights file of the protocol's network, or several files; the first that
        fits is used.
      truncation: factor of a GAN's latents.
      num_generated: number of generated videos; the protocol's by default.
      num_real: maximum number of real clips; the protocol's by default.
      num_repeats: number of times a GAN is sampled; the protocol's by default.
      **options: further arguments of `Scorer`: mean, lpips, split, held_out,
        held_out_split, num_frames, stride, resolution, num_resamples, batch_size,
        cache_dir, strategy.

    Returns:
      `score` with `value`, `sd`, `error` and `others`; `metadata`, the protocol as it
      was used; `warnings`.

    Raises:
      UserError: the clips, the weights or the model do not fit the protocol.
    """
    changes = scorer_lib.Changes(num_generated, num_real, num_repeats)
    scored = generated if isinstance(generated, str) else _model(generated)
    paths = [weights] if isinstance(weights, str) else list(weights)
    scorer = scorer_lib.Scorer(real, scored, paths, changes=changes, **options)
    return scorer(protocol, truncation)


def _model(gan: video_gan.VideoGAN) -> scorer_lib.Model:
    generator = gan.generator
    sampler = getattr(generator, "sampler", None)
    if sampler is None:
        raise errors.UserError(
            "A SavedModel cannot be scored directly: score a folder of its videos."
        )
    return scorer_lib.Model(
        sampler, generator.window, generator.class_names, generator.metadata["step"]
    )
