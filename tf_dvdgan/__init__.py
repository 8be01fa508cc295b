"""tf_dvdgan: adversarial video generation in TensorFlow 2.

Importing the package alone loads nothing heavy: workers that only decode videos
stay light. Import the parts you need, for example `from tf_dvdgan import layers`.
"""

__version__ = "0.1.0"
