"""History encoders, by the name in `RankerConfig.encoder`. Each turns history tokens into keys and values.

    transformer          softmax attention, bidirectional over the history (Hertel et al. 2024)
    causal_transformer   the same layers, causal: can be extended
    hstu                 pointwise attention, causal, with relative times (Zhai et al. 2024): can be extended

All have `encode`, `attend` and `explain`; causal ones also `extend`. They do not know items, features or heads.
"""

from torch import nn

from model.config import RankerConfig
from model.encoders.encoded import EncodedHistory, EncodedParts, of_parts, parts_of
from model.encoders.hstu import HstuEncoder
from model.encoders.transformer import CausalTransformerEncoder, TransformerEncoder

__all__ = ["EncodedHistory", "EncodedParts", "build_encoder", "of_parts", "parts_of"]


def build_encoder(config: RankerConfig) -> nn.Module:
    """The encoder that the config names."""
    encoders: dict[str, type[TransformerEncoder] | type[HstuEncoder]] = {
        "transformer": TransformerEncoder,
        "causal_transformer": CausalTransformerEncoder,
        "hstu": HstuEncoder,
    }
    return encoders[config.encoder](config)
