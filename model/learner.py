"""The ranker together with the item embeddings it learns: what training trains.

A bundle carries the two apart, as TorchScript and as a table that has gone through float16; out of training the
learner reads its embeddings rounded the same way, so offline and online see the same numbers. It does not know data
sets, losses or files.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from model.bundle import UNKNOWN_ROW, ItemTable
from model.config import RankerConfig
from model.datasets.batches import Batch
from model.fusion import build

# These encode the history anew for every candidate, so a padded candidate costs as much as a real one.
PER_CANDIDATE = ("append_self", "concat")


class Learner(nn.Module):
    """Item ids in, logits out.

    known: [N] bool, the items that training meets. The others share row 0, the learned unknown item, and stay there
    when exported: a random embedding would be worse than an honest "unknown".
    """

    known: Tensor
    prior: Tensor

    def __init__(
        self, config: RankerConfig, known: Tensor, drop_items: float, drop_history: float, embedding_std: float
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(len(known), config.embedding_dim)
        nn.init.normal_(self.items.weight, std=embedding_std)
        self.register_buffer("known", known)
        self.register_buffer("prior", torch.zeros_like(self.items.weight))
        self.ranker = build(config)
        self.drop_items = drop_items
        self.drop_history = drop_history
        self.meta_dim = config.meta_dim
        self.per_candidate = config.fusion in PER_CANDIDATE

    def start_from(self, prior: Tensor) -> None:
        """Add a fixed vector to each item's learned one ([N, D] f32): decay then pulls the sum to it, not to zero."""
        self.prior.copy_(prior)

    def freeze_items(self, table: ItemTable) -> None:
        """Take another run's item table and leave it as it is: both surfaces then read one history."""
        with torch.no_grad():
            self.items.weight.copy_(torch.from_numpy(table.embeddings.astype(np.float32)))
            self.known.fill_(True)
            self.prior.zero_()
        self.items.weight.requires_grad_(False)

    def item_embeddings(self) -> Tensor:
        """The table as it is exported: [N, D] float16."""
        return self._rounded(torch.arange(len(self.known))).half()

    def forward(self, batch: Batch) -> Tensor:
        """→ logits [B, C, K] float32; what stands at padded candidates has no meaning."""
        history_items = torch.from_numpy(batch.history_items)
        mask = torch.from_numpy(batch.history_mask)
        candidates = torch.from_numpy(batch.candidate_items)
        if self.training:
            # Some requests have no history and some items are new: both must be met in training to be scored well.
            history_items = self._drop(history_items)
            candidates = self._drop(candidates)
            mask = mask & (torch.rand(len(mask), 1) >= self.drop_history)
        requests = (
            self._embed(history_items),
            torch.from_numpy(batch.history_actions),
            torch.from_numpy(batch.history_times),
            mask,
        )
        shown = (self._embed(candidates), torch.from_numpy(batch.features))
        context = torch.from_numpy(batch.context)
        meta = torch.zeros(len(context), self.meta_dim)
        time = torch.from_numpy(batch.request_time)
        if not self.per_candidate:
            logits: Tensor = self.ranker(*requests, *shown, context, meta, time)
            return logits
        row, column = torch.from_numpy(batch.candidate_mask).nonzero(as_tuple=True)
        each: Tensor = self.ranker(
            *(part[row] for part in requests),
            *(part[row, column].unsqueeze(1) for part in shown),
            context[row],
            meta[row],
            time[row],
        )  # [S, 1, K]
        padded = torch.zeros(*candidates.shape, each.size(2))
        return padded.index_put((row, column), each.squeeze(1))

    def _drop(self, ids: Tensor) -> Tensor:
        return ids.masked_fill(torch.rand(ids.shape) < self.drop_items, UNKNOWN_ROW)

    def _embed(self, ids: Tensor) -> Tensor:
        if not self.training:
            return self._rounded(ids)
        embedded: Tensor = self.items(ids) + self.prior[ids]
        return embedded

    def _rounded(self, ids: Tensor) -> Tensor:
        ids = ids.masked_fill(~self.known[ids], UNKNOWN_ROW)
        rows: Tensor = self.items(ids) + self.prior[ids]
        return rows.half().float()
