"""Scores from Python: the function behind `python -m tools.score`."""

from collections.abc import Sequence

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
    **options: object,
) -> comparison.Result:
    """Scores generated videos against real ones by a named protocol.

    The same as the command `python -m tools.score`; docs/evaluation.md has the
    protocols.

    Args:
      real: folder of prepared shards or of videos.
      generated: a GAN with the weights of a run, or a folder of videos.
      protocol: its name, such as "fid_small" or "fvd_unterthiner".
      weights: file of the network's weights, or several of which one fits.
      truncation: of a GAN's latents.
      num_generated: videos, instead of the protocol's number.
      num_real: most real clips, instead of the protocol's number.
      num_repeats: times that a GAN is sampled, instead of the protocol's number.
      **options: of `Scorer`: mean, lpips, split, held_out, held_out_split, num_frames,
        stride, resolution, num_resamples, batch_size, cache_dir.

    Returns:
      `score` with `value`, `sd`, `error` and `others`; `metadata`, the protocol as it
      was used; `warnings`.

    Raises:
      UserError: the clips, the weights or the protocol do not fit.
    """
    changes = scorer_lib.Changes(num_generated, num_real, num_repeats)
    if not isinstance(generated, str):
        generated = _model(generated)
    paths = [weights] if isinstance(weights, str) else list(weights)
    scorer = scorer_lib.Scorer(real, generated, paths, changes=changes, **options)
    return scorer(protocol, truncation)


def _model(gan: video_gan.VideoGAN) -> scorer_lib.Model:
    generator = gan.generator
    sampler = getattr(generator, "sampler", None)
    if sampler is None:
        raise errors.UserError(
            "A SavedModel is scored by videos that it has made: name their folder."
        )
    return scorer_lib.Model(
        sampler, generator.window, generator.class_names, generator.metadata["step"]
    )
