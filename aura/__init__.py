"""aura: multimodal foundation models of human activity.

Importing this package imports nothing heavy: `aura._torchvision_cpu` is loaded by every `import torch`.
"""

__version__ = "0.1.0"
