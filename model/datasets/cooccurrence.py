"""Where items stand to each other in the training split: a spectral embedding of who met what, whatever came of it.

A few dozen labels an item are too few to learn from scratch which items are alike, and attention to "items like this
one" needs exactly that; the same people meeting two items tells it without a label. Truncated SVD of the bipartite
graph of members and items, normalised by degree (Dhillon 2001). It does not know training or what the vectors are for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from sklearn.utils.extmath import randomized_svd

from model.datasets.base import F32, Dataset


def cooccurrence(dataset: Dataset, width: int) -> F32:
    """[N, width] float32, mean square 1 over the items met; zeros for the unknown item and those that nobody met.

    Nothing of the validation or test split is read, and no label at all. To meet is to be shown: where candidates are
    drawn at random beside the real one (Amazon), that says little.
    """
    part = dataset.splits["train"]
    member = np.repeat(part.member, np.diff(part.candidate_offsets))
    shape = (len(dataset.member_ids), len(dataset.item_ids))
    met = csr_array((np.ones(len(member)), (member, part.candidate_items)), shape=shape)
    met.data[:] = 1.0  # once or often: twice the same entry was summed up
    by_member, by_item = met.sum(axis=1), met.sum(axis=0)
    graph = diags_array(_inverse_root(by_member)) @ met @ diags_array(_inverse_root(by_item))
    found = np.zeros((shape[1], width))
    components = min(width, *shape)
    _, values, vectors = randomized_svd(graph, components, random_state=0)
    found[:, :components] = vectors.T * np.sqrt(values)
    found[0] = 0.0
    size = np.sqrt((found[by_item > 0] ** 2).mean())
    result: F32 = (found / size).astype(np.float32) if size > 0.0 else found.astype(np.float32)
    return result


def _inverse_root(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    roots: NDArray[np.float64] = np.sqrt(np.maximum(degrees, 1.0))
    return 1.0 / roots
