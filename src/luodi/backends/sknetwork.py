"""scikit-network (BSD): communities of a weighted graph."""

from __future__ import annotations

import numpy as np

from luodi.backends import need
from luodi.core.types import Array, Floats


def communities(edges: Array, weights: Floats, num_nodes: int, resolution: float, seed: int) -> Array:
    """Louvain (Blondel et al. 2008, arXiv:0803.0476) with Newman's modularity at a resolution: higher, smaller ones.
    `edges`: m x 2 places, each pair once; `weights`: m, above 0. Gives n labels from 0, the largest community first.
    """
    scipy = need("scipy.sparse")
    both = np.concatenate([edges, edges[:, ::-1]])
    twice = np.concatenate([weights, weights])
    graph = scipy.csr_matrix((twice, (both[:, 0], both[:, 1])), shape=(num_nodes, num_nodes))
    louvain = need("sknetwork.clustering").Louvain(
        resolution=resolution, modularity="newman", random_state=seed, return_probs=False, return_aggregate=False
    )
    labels: Array = louvain.fit_predict(graph)
    return labels.astype(np.int64)
