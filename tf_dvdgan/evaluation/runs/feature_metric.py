"""A protocol's metric of features: its network, weights and preprocessing."""

import copy
import dataclasses
import functools
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import extraction, preprocessing, sources
from tf_dvdgan.evaluation.features.networks import i3d, pixels
from tf_dvdgan.evaluation.features.networks import weights as weights_lib
from tf_dvdgan.evaluation.runs import protocols, scoring
from tf_dvdgan.training import strategy as strategy_lib


class FeatureMetric:
    """A metric of features: the network, preprocessing and statistic of a protocol.

    Args:
      protocol: the protocol.
      weights: weights files; the first that fits is used.
      num_classes: number of classes of the data; with None or 1, weights for any number
        of classes fit, unless the protocol sets the number.
      strategy: where the network runs.
      mean: file of the mean clip that is subtracted from C3D's input.
      cache_dir: folder for cached features; None deletes them together with this
        object.
      batch_size: batch size of the network; does not affect the scores.

    Attributes:
      protocol: as given.
      strategy: as given.
      class_names: class names of the network's logits; empty if its file has none.

    Raises:
      UserError: there are no weights for the network, or no mean.
    """

    def __init__(
        self,
        protocol: protocols.Protocol,
        weights: Sequence[str] = (),
        num_classes: int | None = None,
        strategy: tf.distribute.Strategy | None = None,
        mean: str | None = None,
        cache_dir: str | None = None,
        batch_size: int = 16,
    ):
        self.protocol = protocol
        self.strategy = strategy or tf.distribute.get_strategy()
        needed = protocol.num_classes or (None if num_classes == 1 else num_classes)
        self._weights: dict[str, Any]
        with self.strategy.scope():
            if protocol.network == protocols.PIXELS:
                network, self._weights = pixels.Pixels(), {}
            else:
                network, self._weights = _find(protocol, weights, needed)
        self.class_names = list(self._weights.pop("class_names", ()))
        preprocess, mean_metadata = _preprocessing(protocol, mean)
        self._weights |= mean_metadata
        if cache_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="tf_dvdgan-")
            cache_dir = self._temporary.name
        self._cache_dir = cache_dir
        self._feature_size = network.FEATURES
        feature_fn = functools.partial(_outputs, protocol, network, preprocess)
        self._extract = extraction.Extractor(feature_fn, self.strategy, batch_size)

    def with_protocol(self, protocol: protocols.Protocol) -> "FeatureMetric":
        """Returns the metric by a protocol with other numbers of clips and repeats.

        Args:
          protocol: the metric's protocol, except for these numbers.

        Returns:
          A metric that shares the network and the cache.
        """
        other = copy.copy(self)
        other.protocol = protocol
        return other

    @property
    def metadata(self) -> dict:
        """Protocol and weights, as they are written beside a score."""
        return {**dataclasses.asdict(self.protocol), "weights": self._weights}

    @property
    def covariance_size(self) -> int:
        """Rows of the covariance in a Fréchet distance; 0 for other metrics."""
        if self.protocol.metric != protocols.FRECHET:
            return 0
        of_logits = self.protocol.output == "logits"
        return self._weights["num_classes"] if of_logits else self._feature_size

    @property
    def needs_real(self) -> bool:
        """Whether the metric compares with real clips; an Inception Score does not."""
        return self.protocol.metric != protocols.INCEPTION

    def check_classes(self, class_names: Sequence[str], whose: str) -> None:
        """Checks that classes are the network's, for metrics that compare labels.

        Args:
          class_names: class names in the order of the labels; an empty list is
            accepted.
          whose: owner of the classes, for the message.

        Raises:
          UserError: the classes differ, or are in another order.
        """
        if self.protocol.metric != protocols.ACCURACY or not self.class_names:
            return
        if class_names and list(class_names) != self.class_names:
            few = ", ".join(self.class_names[:5])
            raise errors.UserError(
                f"{self.protocol.name} compares classes: the network's are {few}"
                f"{', ...' if len(self.class_names) > 5 else ''}; those of {whose} "
                "differ, or are in another order. Use a network that was trained on "
                "the same data."
            )

    def extract_features(
        self,
        source: sources.Source,
        task: str | None = None,
        cache_dir: str | None = None,
    ) -> extraction.Features:
        """Runs the network on clips, unless their features are in the cache.

        Args:
          source: source of the clips.
          task: name of the progress bar; None for no progress bar.
          cache_dir: folder for cached features, instead of the metric's own.

        Returns:
          The features; only the chief has those of all clips.
        """
        seen_as = {
            "network": self.protocol.network,
            "preprocessing": self.protocol.preprocessing,
            "num_frames": self.protocol.num_frames,
            "by_frame": self.protocol.by_frame,
            "weights": self._weights,
        }
        return self._extract(source, seen_as, cache_dir or self._cache_dir, task)

    def score(self, sides: scoring.Sides, num_resamples: int = 0) -> scoring.Score:
        """Computes the score from features.

        Args:
          sides: the features.
          num_resamples: number of bootstrap resamples; 0 skips the bootstrap.

        Returns:
          The score; without a value on workers other than the chief.

        Raises:
          UserError: there are too few clips, or they have no classes.
        """
        if not strategy_lib.is_chief(self.strategy):
            return scoring.Score(math.nan)
        return scoring.score(self.protocol, sides, num_resamples, self.class_names)


def _outputs(
    protocol: protocols.Protocol,
    network: tf.keras.Model,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    videos: tf.Tensor,
    labels: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Returns the network's outputs for videos `[batch, time, height, width, 3]`."""
    del labels
    videos = videos[:, : protocol.num_frames]  # a model's may be longer
    if protocol.network == "i3d" and videos.shape[1] < i3d.MIN_FRAMES:
        raise errors.UserError(
            f"{protocol.name} needs at least {i3d.MIN_FRAMES} frames of a video; these "
            f"have {videos.shape[1]}."
        )
    outputs = dict(network(preprocess(videos), training=False))
    if protocol.by_frame:
        frames = np.arange(videos.shape[1])
        for frame in frames[1:]:
            still = tf.gather(videos, np.minimum(frames, frame - 1), axis=1)
            of_still = network(preprocess(still), training=False)
            outputs[scoring.until(protocol.output, frame)] = of_still[protocol.output]
    return outputs


def _preprocessing(
    protocol: protocols.Protocol, mean: str | None
) -> tuple[Callable[[tf.Tensor], tf.Tensor], dict]:
    """Returns the preprocessing function, and metadata of the mean that C3D needs."""
    function = getattr(preprocessing, protocol.preprocessing)
    if protocol.network != "c3d":
        return function, {}
    if mean is None:
        raise errors.UserError(
            f"{protocol.name} needs the mean of C3D's training clips, TGAN's "
            "mean2.npz: set it with `mean`."
        )
    clip = preprocessing.load_c3d_mean(mean)
    digest = hashlib.sha256(clip.tobytes()).hexdigest()
    metadata = {"mean": os.path.basename(mean), "mean_hash": digest}
    return lambda videos: function(videos, clip), metadata


def _find(
    protocol: protocols.Protocol, paths: Sequence[str], num_classes: int | None
) -> tuple[tf.keras.Model, dict]:
    """Loads the network from the file that fits; returns the file's metadata too."""
    network, metadata = weights_lib.load(file_for(protocol, paths, num_classes))
    return network, dataclasses.asdict(metadata)


def file_for(
    protocol: protocols.Protocol, paths: Sequence[str], num_classes: int | None
) -> str:
    """Finds the weights file that fits a protocol.

    Args:
      protocol: the protocol, with its network.
      paths: weights files.
      num_classes: number of classes of the network; None for any.

    Returns:
      The path of the first file that fits.

    Raises:
      UserError: no file fits.
    """
    others = []
    for path in paths:
        metadata = weights_lib.read_metadata(path)
        network, classes = metadata.network, metadata.num_classes
        if network == protocol.network and num_classes in (None, classes):
            return path
        others.append(f"{path} has {network} of {classes} classes")
    is_small = protocol.network == "small_classifier"
    tool = "tools.train_classifier" if is_small else "tools.convert_weights"
    of_classes = f" of {num_classes} classes" if num_classes else ""
    raise errors.UserError(
        f"{protocol.name} needs weights of {protocol.network}{of_classes} from {tool}: "
        "set the file with `weights`" + (f"; {', '.join(others)}." if others else ".")
    )
