"""The protocol's paths in the OpenAPI document: examples that decode, answers that are described."""

from __future__ import annotations

from typing import Any

import msgspec

from service import openapi_models, schemas


def test_every_example_decodes() -> None:
    """Bodies are optional, and an example of one is accepted."""
    tried = 0
    for path in openapi_models.paths().values():
        body: dict[str, Any] | None = path.get("post", {}).get("requestBody")
        if body is not None:
            assert body["required"] is False
            content = body["content"]["application/json"]
            wire_type = getattr(schemas, content["schema"]["$ref"].rpartition("/")[2])
            for example in content["examples"].values():
                msgspec.convert(example["value"], wire_type, strict=True)
                tried += 1

    assert tried == 3
