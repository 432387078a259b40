"""The typical service: FastAPI as most teams write it. Lists of floats, checked by pydantic, a `def` endpoint.

FastAPI runs a `def` endpoint on a thread of its own, so requests run side by side and the event loop stays free; torch
keeps its default of a thread a core for each. `python -m loadtests.peers.typical FILE`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel

from loadtests.peers.artifact import Artifact
from loadtests.peers.hosting import host
from loadtests.peers.tensors import Inputs

PATH = "/rank"


class Action(BaseModel):
    """One action of the history, oldest first."""

    embedding: list[float]
    action: int
    timestamp: int


class Candidate(BaseModel):
    """What is to be scored."""

    id: str
    embedding: list[float]
    features: list[float]


class RankBody(BaseModel):
    """A request."""

    history: list[Action]
    candidates: list[Candidate]
    context: list[float]
    meta: list[float]
    request_time: int


class Scored(BaseModel):
    """One candidate's logits."""

    id: str
    logits: list[float]


class RankAnswer(BaseModel):
    """In the order of the request."""

    scored: list[Scored]


def create_app(file: Path) -> FastAPI:
    """`POST /rank`: numbers in, numbers out."""
    artifact = Artifact(file)
    app = FastAPI()

    @app.post(PATH)
    def rank(body: RankBody) -> RankAnswer:
        logits = artifact.logits(
            Inputs(
                actions=np.array([action.action for action in body.history]),
                timestamps=np.array([action.timestamp for action in body.history]),
                request_time=np.array([body.request_time]),
                history=_f32([action.embedding for action in body.history]),
                candidates=_f32([candidate.embedding for candidate in body.candidates]),
                features=_f32([candidate.features for candidate in body.candidates]),
                context=_f32(body.context),
                meta=_f32(body.meta),
            )
        )
        pairs = zip(body.candidates, logits.tolist(), strict=True)
        return RankAnswer(scored=[Scored(id=candidate.id, logits=row) for candidate, row in pairs])

    return app


def _f32(values: list[Any]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def body(inputs: Inputs) -> bytes:
    """A request, as a client would send it that has arrays."""
    history = zip(inputs.history.tolist(), inputs.actions.tolist(), inputs.timestamps.tolist(), strict=True)
    candidates = zip(inputs.candidates.tolist(), inputs.features.tolist(), strict=True)
    return msgspec.json.encode(
        {
            "history": [{"embedding": row, "action": action, "timestamp": at} for row, action, at in history],
            "candidates": [
                {"id": f"item-{index}", "embedding": row, "features": features}
                for index, (row, features) in enumerate(candidates)
            ],
            "context": inputs.context.tolist(),
            "meta": inputs.meta.tolist(),
            "request_time": int(inputs.request_time[0]),
        }
    )


def logits(answer: bytes) -> NDArray[np.float64]:
    """[C, K]"""
    return np.array([scored["logits"] for scored in msgspec.json.decode(answer)["scored"]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact", type=Path, help="a bundle's TorchScript file")
    host(create_app(parser.parse_args().artifact))
