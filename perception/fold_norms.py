"""Batch normalisation folded into the convolution before it: the same function in fewer passes.

At run time a normalisation is a factor and an offset per channel, which the convolution's weights
and bias can take over.
"""

from __future__ import annotations

from itertools import pairwise

from timm.layers.conv_bn_act import ConvNormAct
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_norms(network: nn.Module) -> int:
    """Fold every normalisation that follows a convolution in a sequence or a block of timm's.

    The network, in ``eval`` mode, is changed in place. Activations that timm keeps inside of its
    normalisations stay. Returns how many were folded. Elsewhere the order of a module's children
    need not be the order they are used in, so nothing is folded there.
    """
    folded = 0
    for parent in list(network.modules()):
        if not isinstance(parent, (nn.Sequential, ConvNormAct)):
            continue
        for (first, conv), (second, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, getattr(norm, "act", nn.Identity()))
                folded += 1
    return folded
