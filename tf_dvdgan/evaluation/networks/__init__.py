"""Networks whose features and logits scores are made of, one a file.

Each is called with float32 videos `[batch, time, height, width, 3]`, resized and scaled
as a protocol says, and gives a dictionary of "logits" and "features". `weights` reads
what others have published, and keeps it in one file with a hash.
"""

from tf_dvdgan.evaluation.networks.c3d import C3D
from tf_dvdgan.evaluation.networks.i3d import I3D
from tf_dvdgan.evaluation.networks.resnet3d import ResNet3D18
from tf_dvdgan.evaluation.networks.small_classifier import SmallClassifier

NETWORKS: dict[str, type] = {
    "i3d": I3D,
    "c3d": C3D,
    "resnet3d_18": ResNet3D18,
    "small_classifier": SmallClassifier,
}
