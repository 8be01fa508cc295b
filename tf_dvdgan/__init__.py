"""tf_dvdgan: adversarial video generation in TensorFlow 2.

Importing the package alone loads nothing heavy: workers that only decode videos
stay light. Import the parts you need, for example `from tf_dvdgan import layers`.
It turns on oneDNN, so import it before TensorFlow; see `tf_dvdgan.onednn`.
"""

from tf_dvdgan import onednn

onednn.enable()  # before anything here imports TensorFlow

__version__ = "0.1.0"
