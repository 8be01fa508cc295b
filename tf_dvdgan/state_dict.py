"""Reads the weights files of PyTorch projects."""

import pickle

import numpy as np

from tf_dvdgan import errors


def read(path: str) -> dict[str, np.ndarray]:
    """A state dict's tensors by name, as float32.

    It may lie under "state_dict" in the file, and its names may begin with "module.",
    as those of a network in `DataParallel` do. Nothing in the file is executed.

    Args:
      path: local file that `torch.save` wrote.

    Raises:
      UserError: PyTorch is not installed.
      ValueError: the file is no state dict.
    """
    try:
        import torch
    except ImportError:
        raise errors.UserError(
            "Reading PyTorch weights wants PyTorch: pip install 'tf_dvdgan[weights]'."
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # PyTorch's own words advise to execute it
        raise ValueError(
            "it is no state dict, or holds more than tensors, which is not executed"
        ) from None
    except (RuntimeError, EOFError) as error:
        reason = str(error).partition("\n")[0] or "it is cut"
        raise ValueError(f"PyTorch reads no state dict from it: {reason}") from None
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}, not a state dict")
    state = state.get("state_dict", state)
    return {
        name.removeprefix("module."): tensor.detach().float().numpy()
        for name, tensor in state.items()
        if torch.is_tensor(tensor)
    }
