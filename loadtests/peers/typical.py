"""The typical service: FastAPI as most teams write it. Lists of floats, checked by pydantic, a `def` endpoint.

FastAPI runs a `def` endpoint on a thread of its own, so requests run side by side; torch keeps its default of a thread
a core for each. `python -m loadtests.peers.typical FILE`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel

from loadtests.peers.artifact import Artifact
from loadtests.peers.hosting import host
from loadtests.peers.tensors import Inputs

PATH = "/rank"


class RankBody(BaseModel):
    """history [T][D] · candidates [C][D] · features [C][F]"""

    history: list[list[float]]
    actions: list[int]
    timestamps: list[int]
    candidates: list[list[float]]
    features: list[list[float]]
    context: list[float]
    meta: list[float]
    request_time: int


class RankAnswer(BaseModel):
    """logits [C][K]"""

    logits: list[list[float]]


def create_app(file: Path) -> FastAPI:
    """`POST /rank`: numbers in, numbers out."""
    artifact = Artifact(file)
    app = FastAPI()

    @app.post(PATH)
    def rank(body: RankBody) -> RankAnswer:
        logits = artifact.logits(
            Inputs(
                actions=np.array(body.actions),
                timestamps=np.array(body.timestamps),
                request_time=np.array([body.request_time]),
                history=np.array(body.history, dtype=np.float32),
                candidates=np.array(body.candidates, dtype=np.float32),
                features=np.array(body.features, dtype=np.float32),
                context=np.array(body.context, dtype=np.float32),
                meta=np.array(body.meta, dtype=np.float32),
            )
        )
        return RankAnswer(logits=logits.tolist())

    return app


def body(inputs: Inputs) -> bytes:
    """A request. Numbers print as short as 32 bits allow; as 64 they would be twice as long."""
    lists = {name: array.tolist() for name, array in inputs._asdict().items()}
    for name in ("history", "candidates", "features"):
        lists[name] = [[float(str(number)) for number in row] for row in getattr(inputs, name)]
    return msgspec.json.encode({**lists, "request_time": int(inputs.request_time[0])})


def logits(answer: bytes) -> NDArray[np.float64]:
    """[C, K]"""
    return np.array(msgspec.json.decode(answer, type=dict[str, list[list[float]]])["logits"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact", type=Path, help="a bundle's TorchScript file")
    host(create_app(parser.parse_args().artifact))
