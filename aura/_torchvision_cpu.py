"""Lets a CUDA build of torchvision import beside a CPU build of torch.

torchvision has no CPU wheel for every torch. Its compiled operators then fail to load, and `import torchvision` stops at
"operator torchvision::nms does not exist", which takes transformers, timm and open_clip down with it. Declaring the two
operators before torchvision is imported is enough: transforms and model code work, `torchvision.ops.nms` itself does not.

torch calls `autoload` at the end of `import torch` (entry point group `torch.backends`); TORCH_DEVICE_BACKEND_AUTOLOAD=0
switches that off.
"""

import importlib.util

_library = None  # the declarations live as long as this object


def autoload() -> None:
    """Declares `torchvision::nms` and `torchvision::qnms` where torch has no CUDA. Safe to call again."""
    global _library
    import torch

    if torch.version.cuda is not None or importlib.util.find_spec("torchvision") is None:
        return
    if hasattr(torch.ops.torchvision, "nms"):
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
