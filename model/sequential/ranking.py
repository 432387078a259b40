"""Full-catalogue ranking: where the item that came next stands among all items, and what follows from that.

Items that the member had are left out (which: `Protocol`). A tie counts against us: every item scored like the right
one stands before it, so a model that scores all items alike is last and not first. A right item that was left out
because the member had it before has the worst rank: a miss, as published. The module does not know models.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.datasets.base import I64
from model.sequential.batch import to_batch
from model.sequential.network import Network
from model.sequential.sequences import Part, Protocol, Sequences, ranges, windows

CUTS = (5, 10, 20, 50)
BATCH = 512


def rank(scores: Tensor, targets: Tensor, seen_members: Tensor, seen_items: Tensor) -> Tensor:
    """scores [B, items + 1] (changed: padding and what was seen are taken out), targets [B] → [B] i64 ranks from 1.

    seen_members, seen_items: [S], pairs (row of scores, item) to leave out.
    """
    scores[:, 0] = -torch.inf
    scores[seen_members, seen_items] = -torch.inf
    return (scores >= scores.gather(1, targets[:, None])).sum(dim=1)


def measures(ranks: I64) -> dict[str, float]:
    """hr@k and ndcg@k for every k of CUTS. One right item each, so HR@k is Recall@k, and NDCG@k is 1 / log2(rank + 1)
    where the rank is at most k."""
    gains = 1.0 / np.log2(ranks + 1.0)
    result: dict[str, float] = {}
    for cut in CUTS:
        result[f"hr@{cut}"] = float((ranks <= cut).mean())
        result[f"ndcg@{cut}"] = float((gains * (ranks <= cut)).mean())
    return result


def model_ranks(network: Network, sequences: Sequences, part: Part, protocol: Protocol, max_length: int) -> I64:
    """Ranks of the part's last target of every member, in order of member."""
    network.eval()
    with torch.inference_mode():
        table = network.table().t()
    # Members of like length side by side, so that little is padded.
    members = sequences.members(part, protocol)
    ends = sequences.ends(part, protocol)
    order = np.argsort((ends - sequences.offsets[:-1])[members], kind="stable")
    ranks = np.empty(len(members), dtype=np.int64)
    for places in np.array_split(order, max(1, -(-len(order) // BATCH))):
        chosen = members[places]
        batch = to_batch(windows(sequences, chosen, ends[chosen], max_length))
        seen = seen_before(sequences, chosen, ends[chosen], max_length if protocol == "fixed" else None)
        with torch.inference_mode():
            ranks[places] = rank(network.last(batch) @ table, batch.last(batch.targets), *seen).numpy()
    return ranks


def seen_before(sequences: Sequences, members: I64, ends: I64, last: int | None) -> tuple[Tensor, Tensor]:
    """What each member had before its target: all, or the last so many."""
    lengths = ends - sequences.offsets[members] - 1
    if last is not None:
        lengths = np.minimum(lengths, last)
    items = sequences.items[np.repeat(ends - lengths - 1, lengths) + ranges(lengths)]
    return torch.from_numpy(np.repeat(np.arange(len(members)), lengths)), torch.from_numpy(items)
