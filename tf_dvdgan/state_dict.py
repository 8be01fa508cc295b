"""Reads PyTorch weight files."""

import os
import pickle

import numpy as np

from tf_dvdgan import array_files, errors


def load(path: str) -> dict[str, np.ndarray]:
    """Reads a state dict's tensors by name, as float32.

    The state dict may be nested under "state_dict". The prefix "module." that
    `DataParallel` adds to names is removed. No code in the file is executed.

    Args:
      path: local path of a file written by `torch.save`.

    Returns:
      Name to array.

    Raises:
      UserError: PyTorch is not installed.
      ValueError: the file is not a state dict, or its tensors would expand to far more
        than its size.
    """
    try:
        import torch
    except ImportError:
        raise errors.UserError(
            "Reading PyTorch weights needs PyTorch: pip install 'tf_dvdgan[weights]'."
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # PyTorch's message suggests executing it
        raise ValueError(
            "it is not a state dict, or holds more than tensors, which is not executed"
        ) from None
    except (RuntimeError, EOFError) as error:
        reason = str(error).partition("\n")[0] or "it is truncated"
        raise ValueError(
            f"PyTorch cannot read a state dict from it: {reason}"
        ) from None
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}, not a state dict")
    state = state.get("state_dict", state)
    tensors = {
        name.removeprefix("module."): tensor.detach()
        for name, tensor in state.items()
        if torch.is_tensor(tensor)
    }
    # A tensor with strides of zero is larger than what the file holds.
    num_bytes = sum(4 * tensor.numel() for tensor in tensors.values())
    array_files.check_expansion(os.path.getsize(path), num_bytes)
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}
