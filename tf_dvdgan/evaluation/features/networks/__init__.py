"""Networks whose features and logits are scored, one per file.

Each takes float32 videos `[batch, time, height, width, 3]`, preprocessed as its
protocol says, and returns a dictionary with "logits" and "features". `weights` converts
published weights to a Keras weights file with a hash.
"""

from tf_dvdgan.evaluation.features.networks.c3d import C3D
from tf_dvdgan.evaluation.features.networks.i3d import I3D
from tf_dvdgan.evaluation.features.networks.resnet3d import ResNet3D18
from tf_dvdgan.evaluation.features.networks.small_classifier import SmallClassifier

NETWORKS: dict[str, type] = {
    "i3d": I3D,
    "c3d": C3D,
    "resnet3d_18": ResNet3D18,
    "small_classifier": SmallClassifier,
}
