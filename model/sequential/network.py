"""Network: an item table and an encoder that reads windows of it. It does not know how it is trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.sequential.batch import Batch
from model.sequential.hstu import NextItemHstuEncoder
from model.sequential.losses import TEMPERATURE
from model.sequential.postnorm import PostNormEncoder
from model.sequential.sasrec import SasRecEncoder
from model.sequential.settings import Encoder, NextItemSettings

_ENCODERS: dict[Encoder, type[SasRecEncoder | PostNormEncoder | NextItemHstuEncoder]] = {
    "sasrec": SasRecEncoder,
    "sasrec_postnorm": PostNormEncoder,
    "hstu": NextItemHstuEncoder,
}


class Network(nn.Module):
    """Scores of the next item are products of `rows` and `table`.

    Trained with the sampled softmax both are of unit length, and the rows are divided by the temperature (Zhai et al.
    2024); trained with binary cross-entropy they are as they come.
    """

    def __init__(self, settings: NextItemSettings, items: int) -> None:
        """items: the catalogue's size, without padding."""
        super().__init__()
        self.cosine = settings.loss == "sampled_softmax"
        self.items = nn.Embedding(items + 1, settings.dim)
        nn.init.normal_(self.items.weight, std=0.02)
        kind = _ENCODERS[settings.encoder]
        self.encoder = kind(settings.dim, settings.layers, settings.heads, settings.max_length, settings.dropout)

    def rows(self, batch: Batch) -> Tensor:
        """[N, D]: what each row of the batch says about the item after it."""
        rows: Tensor = self.encoder(self.items(batch.items), batch)
        return F.normalize(rows, dim=1, eps=1e-6) / TEMPERATURE if self.cosine else rows

    def table(self) -> Tensor:
        """[items + 1, D]. Row 0 is padding."""
        return F.normalize(self.items.weight, dim=1, eps=1e-6) if self.cosine else self.items.weight

    @torch.inference_mode()
    def last(self, batch: Batch) -> Tensor:
        """[B, D]: of each window's last row only."""
        return batch.last(self.rows(batch))
