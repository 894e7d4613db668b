"""Hooks of schemathesis for rules that a JSON schema cannot express: requests that should be accepted are adapted to them.

Requests that should be rejected are sent unchanged. Half of the requests name something that exists instead of a random value.
"""

import json
import os
import zlib
from typing import Any

import schemathesis
from schemathesis import GenerationMode

KNOWN = json.loads(os.environ["SAGAS_OPENAPI_KNOWN"])
# The largest amount in cents.
MOST_CENTS = 2**63 - 1
AMOUNTS = {"unitPrice", "price", "declineAbove"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict) -> None:
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    path, body = case.operation.path, case.body
    if isinstance(body, dict):
        body = as_written(body)
        if path == "/orders":
            affordable(body)
        elif path == "/replays":
            within_the_log(body)
        elif path.startswith("/dead-letters/"):
            one_meaning(body)
            named = ["topic", "key", "keyBase64", "type", "error", "since", "until"]
            if all(body.get(name) is None for name in named):
                body["all"] = True
        elif path.endswith("/skip"):
            body["step"] = "ReserveInventory"
        case.body = body
    if path == "/dead-letters" and isinstance(case.query, dict):
        one_meaning(case.query)
    if case.path_parameters and zlib.crc32(repr(case.path_parameters).encode()) % 2:
        case.path_parameters.update(something_there(path, case.path_parameters))


def as_written(value: Any, name: str = "") -> Any:
    """Writes integers without a fraction, and amounts with two decimals: 2.0 and 0.35000000000000003 become 2 and 0.35."""
    if isinstance(value, dict):
        return {name: as_written(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [as_written(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return round(value, 2) if isinstance(value, float) and name in AMOUNTS else value


def affordable(body: dict) -> None:
    """Makes the total of an order a valid amount."""
    total = sum(round(item["unitPrice"] * 100) * item["quantity"] for item in body["items"])
    if total > MOST_CENTS // 2:
        for item in body["items"]:
            item["quantity"], item["unitPrice"] = 1, 0.01


def within_the_log(body: dict) -> None:
    """Makes a replay one of a consumed topic and an existing range."""
    for name in ["partition", "fromTime", "toOffset", "toTime", "limit"]:
        body.pop(name, None)
    body["topic"], body["fromOffset"] = KNOWN["topic"], 0


def one_meaning(letters: dict) -> None:
    """Keeps only one form of the key, and only one limit of the period."""
    if letters.get("key") is not None and letters.get("keyBase64") is not None:
        del letters["keyBase64"]
    if letters.get("since") is not None and letters.get("until") is not None:
        del letters["until"]


def something_there(path: str, parameters: dict) -> dict:
    if path.startswith("/sagas/"):
        return {"saga": KNOWN["saga"], "id": KNOWN["orderId"]}
    if path.startswith("/replays/"):
        return {"id": KNOWN["replay"]}
    if path.startswith("/dead-letters/") and "letter" in KNOWN:
        return {"id": KNOWN["letter"]}
    if path.startswith("/docs/"):
        return {"file": "start.js"}
    return {name: KNOWN[name] for name in parameters if name in KNOWN}
