"""An export is proven before it gets its place, or leaves nothing.

(No `from __future__ import annotations`: TorchScript reads these annotations.)
"""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from model.bundle import BundleError, ItemTable, Manifest, Surface, Task, read_golden, read_manifest, verify
from model.check import replay
from model.config import Encoder, RankerConfig
from model.encoders import EncodedParts
from model.export import export_bundle
from model.ranker import ExtendableRanker, Ranker


def test_an_exported_bundle_is_complete_and_replays(repository: Path) -> None:
    """Every file matches the manifest, and a freshly loaded artifact gives the golden logits."""
    bundle = repository / "ads" / "1"
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    artifact = torch.jit.load(bundle / "ranker.pt")

    assert manifest.torch_version == torch.__version__.split("+")[0]
    for case in read_golden(bundle):
        assert np.abs(replay(artifact, case) - case.logits).max() <= 1e-5


def test_a_mismatch_fails_the_export_and_leaves_nothing(
    tmp_path: Path, items: ItemTable, config: Callable[[Surface], RankerConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the exported file does not give the ranker's logits, the error says so and no bundle appears."""
    real = torch.jit.script

    def script_other_weights(scripted: object, **options: object) -> object:
        """The real scripting, which also calls itself, of a ranker whose weights were changed on the way."""
        if isinstance(scripted, Ranker):
            with torch.no_grad():
                scripted.head.logits.bias.add_(1.0)
        return real(scripted, **options)

    monkeypatch.setattr(torch.jit, "script", script_other_weights)
    with pytest.raises(BundleError, match="golden logits differ"):
        export_bundle(
            tmp_path / "feed" / "1",
            Ranker(config("feed")),
            config("feed"),
            items,
            surface="feed",
            tasks=(Task(name="click"), Task(name="like")),
            actions=("view", "click", "like"),
        )

    assert list(tmp_path.iterdir()) == []


def test_an_existing_version_is_refused_before_any_work(
    repository: Path, export: Callable[[Path, Surface, int], Manifest]
) -> None:
    """Versions are immutable: exporting over one is an error."""
    with pytest.raises(BundleError, match="exists already"):
        export(repository / "feed" / "1", "feed", 1)


class ForgetfulRanker(ExtendableRanker):
    """Right in all but one thing: what a history is extended by is lost."""

    @torch.jit.export
    def extend_history(
        self,
        encoded: EncodedParts,
        embeddings: torch.Tensor,
        actions: torch.Tensor,
        timestamps: torch.Tensor,
        mask: torch.Tensor,
    ) -> EncodedParts:
        """What was encoded before."""
        return encoded


def test_a_wrong_extension_fails_the_export(
    tmp_path: Path, items: ItemTable, config: Callable[[Surface, Encoder], RankerConfig]
) -> None:
    """Extended from its middle a history must give the golden logits too, or no bundle appears."""
    with pytest.raises(BundleError, match="golden logits differ"):
        export_bundle(
            tmp_path / "feed" / "1",
            ForgetfulRanker(config("feed", "hstu")),
            config("feed", "hstu"),
            items,
            surface="feed",
            tasks=(Task(name="click"), Task(name="like")),
            actions=("view", "click", "like"),
        )

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoder", get_args(Encoder))
def test_the_manifest_says_which_encoder_and_whether_it_extends(
    tmp_path: Path, export: Callable[[Path, Surface, int, Encoder], Manifest], encoder: Encoder
) -> None:
    """Causal encoders are exported with their extension, and only they."""
    manifest = export(tmp_path / "ads" / "1", "ads", 1, encoder)
    artifact = torch.jit.load(tmp_path / "ads" / "1" / "ranker.pt")

    assert manifest.encoder == encoder
    assert manifest.extendable == hasattr(artifact, "extend_history") == (encoder != "transformer")


@pytest.mark.parametrize("change", [0.0, 1.0])
def test_a_bundle_of_reduced_precision_is_proven_against_the_trained_ranker(
    tmp_path: Path,
    items: ItemTable,
    config: Callable[[Surface], RankerConfig],
    monkeypatch: pytest.MonkeyPatch,
    change: float,
) -> None:
    """Golden logits are float32's, the manifest states precision and tolerance; what is not that ranker is refused."""
    torch.manual_seed(0)
    ranker = Ranker(config("feed"))
    real = torch.jit.script

    def script_shifted(scripted: object, **options: object) -> object:
        """The real scripting, which also calls itself for the functions it meets, with logits shifted by `change`."""
        if isinstance(scripted, Ranker):
            with torch.no_grad():
                scripted.head.logits.bias.add_(change)
        return real(scripted, **options)

    def export() -> Manifest:
        return export_bundle(
            tmp_path / "feed" / "1",
            ranker,
            config("feed"),
            items,
            surface="feed",
            tasks=(Task(name="click"), Task(name="like")),
            actions=("view", "click", "like"),
            precision="bf16",
        )

    monkeypatch.setattr(torch.jit, "script", script_shifted)
    if change:
        with pytest.raises(BundleError, match="golden logits differ"):
            export()
        return

    manifest = export()
    assert (manifest.precision, manifest.golden_tolerance) == ("bf16", 3e-2)
    for case in read_golden(tmp_path / "feed" / "1"):
        assert np.abs(replay(ranker, case) - case.logits).max() <= 1e-5
