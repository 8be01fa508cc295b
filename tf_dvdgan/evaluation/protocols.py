"""Protocols: all that fixes a score's value, by name.

A score without its protocol says nothing: another resize, another number of clips or
other weights move it further than most papers' improvements. docs/evaluation.md has
them in a table.
"""

import dataclasses

from tf_dvdgan import errors

FRECHET, INCEPTION, ACCURACY, S3, S3_SCRATCH, PREDICTION = (
    "frechet_distance",
    "inception_score",
    "accuracy",
    "s3",
    "s3_scratch",
    "prediction",
)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a score is made.

    Attributes:
      name: of the score.
      metric: 'frechet_distance', 'inception_score', 'accuracy', 's3' (whose classifiers
        start from weights), 's3_scratch' (from random ones) or 'prediction'.
      network: that looks at the videos, a key of `networks.NETWORKS`, or 'pixels'.
      preprocessing: from uint8 videos to the network's input, a function of
        `preprocessing`.
      compares_with: the tables that it belongs to.
      num_classes: the network's; None for those of the data.
      output: of the network, whose distribution is compared.
      num_frames: of a video; None for as many as a model makes, or the files have.
      stride: every n-th frame of a real clip; None for that of the model.
      split: of the real clips; all of a folder, or of data without this split.
      num_real: real clips at the most; None for all.
      num_generated: generated videos; as many as are real for 's3' and for what
        continues real clips.
      num_splits: parts that an Inception Score is the mean of.
      num_repeats: times that a model is sampled again; a score is their mean.
      samples_per_clip: of a model that continues real clips.
      seed: of latents, classes and bootstrap.
    """

    name: str
    metric: str
    network: str
    preprocessing: str
    compares_with: str
    num_classes: int | None = None
    output: str = "features"
    num_frames: int | None = None
    stride: int | None = None
    split: str = "train"
    num_real: int | None = None
    num_generated: int = 10_000
    num_splits: int = 1
    num_repeats: int = 1
    samples_per_clip: int = 1
    seed: int = 0

    @property
    def is_s3(self) -> bool:
        """Whether it trains classifiers of its own."""
        return self.metric in (S3, S3_SCRATCH)

    @property
    def needs_model(self) -> bool:
        """Whether it scores a trained model alone: no folders, no run that trains."""
        return self.is_s3 or self.metric == PREDICTION

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller score is the better one."""
        return self.metric == FRECHET


_OWN = "nothing published: runs on the same data, by the same weights"

NAMED = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "fvd_unterthiner",
            FRECHET,
            "i3d",
            "unterthiner_i3d",
            "Unterthiner et al., 2018; paper 001, table 4",
            num_classes=400,
            output="logits",
            num_frames=16,
            stride=1,
            split="test",
            num_real=2048,
            num_generated=2048,
        ),
        Protocol(
            "fvd_bair",
            FRECHET,
            "i3d",
            "unterthiner_i3d",
            "paper 001, table 3 (BAIR)",
            num_classes=400,
            output="logits",
            num_frames=16,
            stride=1,
            split="test",
            num_real=256,
            num_generated=25_600,
            samples_per_clip=100,
        ),
        Protocol(
            "fid_dvdgan",
            FRECHET,
            "i3d",
            "dvdgan_i3d",
            "paper 001, table 1; paper 002, table 1",
            num_classes=600,
            num_generated=50_000,
        ),
        Protocol(
            "is_dvdgan",
            INCEPTION,
            "i3d",
            "dvdgan_i3d",
            "paper 001, table 1; paper 002, table 1",
            num_classes=600,
            num_generated=50_000,
            num_splits=10,
        ),
        Protocol(
            "is_c3d_tgan",
            INCEPTION,
            "c3d",
            "tgan_c3d",
            "paper 001, table 2; paper 002, table 2; paper 003, table 1",
            num_classes=101,
            num_frames=16,
            num_repeats=10,
        ),
        Protocol(
            "is_c3d_tgan2",
            INCEPTION,
            "c3d",
            "tgan2_c3d",
            "TGANv2 (Saito et al., 2018), whose row stands in those tables too",
            num_classes=101,
            num_frames=16,
            num_repeats=10,
        ),
        Protocol(
            "s3_mvt",
            S3,
            "resnet3d_18",
            "resnet3d",
            "paper 003, table 3, rows of 3D ResNet-18",
            num_frames=16,
        ),
        Protocol(
            "s3_scratch",
            S3_SCRATCH,
            "resnet3d_18",
            "resnet3d",
            "nothing published: both classifiers start from random weights",
            num_frames=16,
        ),
        Protocol(
            "prediction",
            PREDICTION,
            "",
            "",
            "papers on video prediction; papers 001 to 004 print none of it",
            stride=1,
            split="test",
            num_real=256,
            samples_per_clip=100,
        ),
        Protocol(
            "fid_small",
            FRECHET,
            "small_classifier",
            "unit_range",
            _OWN,
            num_generated=2048,
        ),
        Protocol(
            "is_small",
            INCEPTION,
            "small_classifier",
            "unit_range",
            _OWN,
            num_generated=2048,
        ),
        Protocol(
            "accuracy_small",
            ACCURACY,
            "small_classifier",
            "unit_range",
            _OWN,
            num_generated=2048,
        ),
        Protocol(
            "fid_pixels",
            FRECHET,
            "pixels",
            "unit_range",
            "nothing published: runs on the same data",
            split="test",
            num_real=512,
            num_generated=512,
        ),
    )
}


def named(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
      UserError: there is none of that name.
    """
    if name not in NAMED:
        raise errors.UserError(
            f"There is no protocol {name!r}; there are {', '.join(NAMED)}."
            + errors.did_you_mean(name, NAMED)
        )
    return NAMED[name]
