"""The manifest: what a service must know of a ranker to serve it. It knows no other file's contents."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.bundle.files import MANIFEST_FILE, BundleError

Surface = Literal["feed", "ads"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Calibration(_Frozen):
    """Platt scaling: probability = sigmoid(scale · logit + offset). Identity unless fitted."""

    scale: float = Field(default=1.0, gt=0.0)
    offset: float = 0.0


class Task(_Frozen):
    """One output of the ranker: a logit whose calibrated sigmoid is the probability of `name`."""

    name: str
    weight: float = Field(default=1.0, ge=0.0, description="default weight in the feed's utility")
    calibration: Calibration = Calibration()


class Feature(_Frozen):
    """One float input by name. `default` stands in for a value that the request leaves out."""

    name: str
    default: float = 0.0


class Manifest(_Frozen):
    """What the service must know of a ranker to serve it. Sizes are counts; `files` maps a file name to its sha256."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    version: str = Field(pattern=r"^[0-9]+$", description="versions are ordered as numbers")
    surface: Surface
    torch_version: str
    encoder: str
    extendable: bool = Field(default=False, description="the artifact has extend_history (causal encoders)")
    embedding_dim: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    ffn_dim: int = Field(ge=1)
    max_history: int = Field(ge=1, description="T_max: longest window, in actions")
    slack: int = Field(ge=1, description="S: the window's start moves in steps of this many actions")
    max_candidates: int = Field(ge=1, description="most candidates one request may carry")
    tasks: tuple[Task, ...] = Field(min_length=1)
    actions: tuple[str, ...] = Field(min_length=1, max_length=65536, description="an action's id is its index")
    features: tuple[Feature, ...] = ()
    context: tuple[Feature, ...] = ()
    meta_dim: int = Field(ge=0, description="width of the member meta embedding (LiMAML); zeros until there is one")
    embedding_version: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="names the item table histories refer to")
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    golden_tolerance: float = Field(default=1e-4, gt=0.0)
    training: dict[str, float | int | str] = Field(default_factory=dict, description="offline figures, for people")
    files: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        for what, names in (
            ("tasks", [t.name for t in self.tasks]),
            ("actions", list(self.actions)),
            ("features", [f.name for f in self.features]),
            ("context", [f.name for f in self.context]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: names repeat")
        if self.slack > self.max_history:
            raise ValueError("slack is larger than max_history")
        if self.surface == "ads" and len(self.tasks) != 1:
            raise ValueError("an ads ranker has exactly one task, the click")
        return self

    def window_start(self, total: int) -> int:
        """Index of the first action that a ranker reads of a log of `total` actions ever appended."""
        return window_start(total, self.max_history, self.slack)


def window_start(total: int, max_history: int, slack: int) -> int:
    """The anchored window: S · ⌈max(0, total − T_max) / S⌉, counted in actions ever appended.

    Between two moves of the anchor the window only grows at its end, so a position (index − start) never changes and
    a causal encoder may extend what it has encoded. The window is never longer than `max_history`.
    """
    return slack * -(-max(0, total - max_history) // slack)


def read_manifest(directory: Path) -> Manifest:
    """Read and validate `manifest.json`. Raises BundleError."""
    try:
        return Manifest.model_validate_json((directory / MANIFEST_FILE).read_bytes())
    except FileNotFoundError:
        raise BundleError(MANIFEST_FILE, f"is missing from {directory}") from None
    except (OSError, ValidationError) as error:
        raise BundleError(MANIFEST_FILE, f"cannot be read: {error}") from error
