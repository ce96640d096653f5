"""aura: multimodal foundation models of human activity.

    model = aura.from_pretrained("runs/quickstart")

Importing this package imports nothing heavy: `aura._torchvision_cpu` is loaded by every `import torch`, and what is served
below when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aura.data.units import InputWarning
    from aura.inference.model import Aura

    from_pretrained = Aura.from_pretrained

__version__ = "0.1.0"
__all__ = ["Aura", "InputWarning", "from_pretrained"]


def __getattr__(name: str) -> Any:
    if name == "from_pretrained":
        return __getattr__("Aura").from_pretrained
    if name == "Aura":
        from aura.inference.model import Aura

        return Aura
    if name == "InputWarning":
        from aura.data.units import InputWarning

        return InputWarning
    raise AttributeError(f"module 'aura' has no attribute {name!r}")
