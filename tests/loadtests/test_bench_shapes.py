"""The reference shapes."""

from __future__ import annotations

from loadtests.bench_shapes import SHAPES


def test_sizes_are_the_published_ones() -> None:
    """T, C and d of each shape, with two layers, four heads and an FFN of 4d."""
    sizes = {name: (shape.history, shape.candidates, shape.embedding_dim) for name, shape in SHAPES.items()}

    assert sizes == {
        "small": (128, 256, 64),
        "large": (256, 512, 128),
        "wide": (256, 2048, 128),
        "long": (1024, 512, 128),
    }
    for shape in SHAPES.values():
        config = shape.config
        assert (config.layers, config.heads, config.ffn_dim) == (2, 4, 4 * shape.embedding_dim)
        assert config.max_history == shape.history
