"""Named evaluation protocols: everything that determines a score's value.

A score without its protocol is meaningless: a different resize, number of clips or
weights file changes it by more than most papers improve it. docs/evaluation.md has a
table of the protocols.
"""

import dataclasses

from tf_dvdgan import errors

PIXELS = "pixels"  # a network without weights
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
    """How a score is computed.

    Attributes:
      name: of the protocol.
      metric: 'frechet_distance', 'inception_score', 'accuracy', 's3' (classifiers start
        from a weights file), 's3_scratch' (they start from random weights) or
        'prediction'.
      network: a key in `networks.NETWORKS`, or 'pixels'.
      preprocessing: name of the function in `preprocessing` that makes its input.
      compares_with: published tables that the score compares with.
      num_classes: of the network; None for the number of classes in the data.
      output: the network's output whose distribution is compared.
      num_frames: per video; None for the number in the model's videos or the files.
      stride: takes every n-th frame of a real clip; None for the model's stride.
      split: of the real clips; folders and data without this split use all clips.
      num_real: maximum number of real clips, and of held-out ones; None for all.
      num_generated: number of generated videos, except that 's3' generates as many as
        there are real clips. A model that continues clips generates the same number
        for each: at least one, and at most `samples_per_clip`.
      num_splits: number of splits that an Inception Score is averaged over.
      num_repeats: number of times the model is sampled; the score is the mean.
      samples_per_clip: maximum number of samples for each real clip that a model
        continues.
      by_frame: whether to compute the Fréchet distance for each frame, too: of clips
        that stand still from this frame on, on both sides.
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
    by_frame: bool = False
    seed: int = 0

    @property
    def is_s3(self) -> bool:
        """Whether the protocol trains its own classifiers."""
        return self.metric in (S3, S3_SCRATCH)

    @property
    def needs_model(self) -> bool:
        """Whether it scores only trained models, not folders or a run in training."""
        return self.is_s3 or self.metric == PREDICTION

    @property
    def needs_weights(self) -> bool:
        """Whether its network needs a weights file."""
        return self.network not in ("", PIXELS)

    @property
    def unused_counts(self) -> frozenset[str]:
        """Names of the numbers that do not apply: those that a command may change."""
        if self.is_s3:  # as many as there are real clips
            return frozenset(("num_real", "num_generated", "num_repeats"))
        if self.metric == PREDICTION:  # `samples_per_clip` of each
            return frozenset(("num_generated", "num_repeats"))
        return frozenset()

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower score is better."""
        return self.metric == FRECHET


_OWN = "nothing published: runs on the same data, by the same weights"

PROTOCOLS = {
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
            "fid_small_held_out",
            FRECHET,
            "small_classifier",
            "unit_range",
            _OWN,
            split="test",
            num_generated=2048,
        ),
        Protocol(
            "fid_small_by_frame",
            FRECHET,
            "small_classifier",
            "unit_range",
            _OWN,
            split="test",
            num_generated=2048,
            by_frame=True,
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
            PIXELS,
            "unit_range",
            "nothing published: runs on the same data",
            split="test",
            num_real=512,
            num_generated=512,
        ),
    )
}


def get(name: str) -> Protocol:
    """Returns the protocol with a name.

    Raises:
      UserError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise errors.UserError(
            f"There is no protocol {name!r}; choose from {', '.join(PROTOCOLS)}."
            + errors.did_you_mean(name, PROTOCOLS)
        )
    return PROTOCOLS[name]
