"""Makes `tf.keras` Keras 2, which this package is written for.

TensorFlow 2.16 and later make it Keras 3, unless TF_USE_LEGACY_KERAS=1 is set before
TensorFlow is imported: then it is tf-keras, which is Keras 2. With Keras 3,
`tf.train.Checkpoint` would silently save no variables of layers in lists. TensorFlow
2.15 has Keras 2 itself; there the variable would break `tf.keras`.
"""

import importlib.metadata
import importlib.util
import os
import sys

VARIABLE = "TF_USE_LEGACY_KERAS"
_DISTRIBUTIONS = ("tensorflow", "tensorflow-tpu", "tensorflow-cpu")
_TRUE = ("1", "true", "True")


def use_keras_2() -> None:
    """Sets the variable if the installed TensorFlow needs it; does not import it.

    Raises:
      ImportError: TensorFlow was imported before with Keras 3, or the user's value of
        the variable or the lack of tf-keras makes it Keras 3.
    """
    version = _tensorflow_version()
    if version is None:
        return
    chosen = os.environ.get(VARIABLE)
    has_tf_keras = importlib.util.find_spec("tf_keras") is not None
    if version < (2, 16):
        if not has_tf_keras:  # for another environment; here it would break `tf.keras`
            os.environ.pop(VARIABLE, None)
        return
    if chosen is not None and chosen not in _TRUE:
        raise ImportError(
            f"tf_dvdgan needs tf-keras, but {VARIABLE}={chosen} selects Keras 3: "
            "remove the variable."
        )
    loaded = sys.modules.get("tensorflow")
    if loaded and not getattr(loaded, "_tf_uses_legacy_keras", False):
        raise ImportError(
            "TensorFlow (or Keras) was imported before tf_dvdgan, with Keras 3: import "
            f"tf_dvdgan first, or set {VARIABLE}=1."
        )
    if not has_tf_keras:
        major, minor = version
        raise ImportError(
            f"TensorFlow {major}.{minor} needs tf-keras, which is not installed: "
            f"pip install 'tf-keras=={major}.{minor}.*'."
        )
    os.environ[VARIABLE] = "1"


def _tensorflow_version() -> tuple[int, int] | None:
    """Returns (major, minor) of the installed TensorFlow; None if there is none."""
    for name in _DISTRIBUTIONS:
        try:
            major, minor, *_ = importlib.metadata.version(name).split(".")
        except importlib.metadata.PackageNotFoundError:
            continue
        return int(major), int(minor)
    return None
