"""Validates the OpenAPI description of each service, and runs schemathesis against the service. Called by scripts/openapi."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SERVICES = ["order", "inventory", "payment", "notification", "analytics"]
# A topic that each service consumes, for its replays.
TOPICS = {
    "order": "payments",
    "inventory": "orders",
    "payment": "inventory",
    "notification": "orders",
    "analytics": "orders",
}
# The checks that are left out: no route needs a credential on a loopback address.
LEFT_OUT = "ignored_auth,object_level_authorization"


def serving(out: Path) -> dict[str, str]:
    """Waits until the program prints the URLs of its services."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for line in out.read_text().splitlines():
            if line.startswith('{"serving"'):
                return json.loads(line)["serving"]
        time.sleep(0.1)
    sys.exit("the services did not start within two minutes")


def ask(url: str, body: dict | None = None, method: str | None = None) -> dict | list:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def order_of_nobody_told(urls: dict[str, str]) -> None:
    """Places an order whose notification becomes a dead letter, in about a minute."""
    ask(f"{urls['notification']}/providers", {"email": {"outage": True}}, "PUT")
    items = [{"productId": "tea", "quantity": 1, "unitPrice": 9.90}]
    ask(f"{urls['order']}/orders", {"customerId": "ada", "items": items})


def dead_letter(url: str) -> str:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        letters = ask(f"{url}/dead-letters?state=all")
        if letters:
            return letters[0]["id"]
        time.sleep(0.5)
    sys.exit("no notification was given up within two minutes")


def replay(url: str, topic: str) -> str:
    asked = {"topic": topic, "fromOffset": 0, "reason": "for a test", "by": "scripts/openapi"}
    return ask(f"{url}/replays", asked)["partitions"][0]["id"]


def check(service: str, url: str, known: dict) -> bool:
    folder = (Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "openapi").absolute()
    document = folder / f"{service}.json"
    document.write_text(json.dumps(ask(f"{url}/openapi.json"), indent=2))
    validator = [tool("openapi-spec-validator"), "--schema", "3.1", document]
    read = subprocess.run(validator, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if read.returncode:
        print(f"{read.stdout}\n{service}: its description is not valid", file=sys.stderr, flush=True)
        return False
    hooks, settings = Path(__file__).with_name("hooks.py").absolute(), Path(__file__).with_name("schemathesis.toml").absolute()
    command = [
        tool("schemathesis"), "--config-file", settings, "run", document, "--url", f"{url}/api/v1", "--workers", "1", "--continue-on-failure",
        "--seed", os.environ.get("SAGAS_OPENAPI_SEED", "1"),
        "--max-examples", os.environ.get("SAGAS_OPENAPI_EXAMPLES", "20"),
        "--checks", "all", "--exclude-checks", LEFT_OUT, "--warnings", "off", "--no-color",
    ]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": hooks.stem,
        "PYTHONPATH": str(hooks.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SAGAS_OPENAPI_KNOWN": json.dumps(known),
    }
    try:
        ran = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
    except subprocess.TimeoutExpired as late:
        # The output so far is bytes, even in text mode.
        said = late.output or b""
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        print(f"{said}\n{service}: schemathesis has not ended within 15 minutes", file=sys.stderr, flush=True)
        return False
    said = ran.stdout.splitlines()
    totals = [line.strip() for line in said if "generated" in line or "Tested:" in line]
    print(f"{service}: {'as described' if ran.returncode == 0 else 'NOT as described'}; {'; '.join(totals)}", flush=True)
    if ran.returncode:
        print(ran.stdout, file=sys.stderr, flush=True)
    return ran.returncode == 0


def tool(name: str) -> Path:
    return (Path(sys.executable).parent / name).absolute()


def main() -> None:
    # Raises an exception, so that started processes are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    urls = serving(Path(sys.argv[1]))
    wanted = sys.argv[2:] or SERVICES
    for service in wanted:
        if service not in SERVICES:
            sys.exit(f"there is no service {service}: {', '.join(SERVICES)}")
    wanted.sort(key=lambda service: service == "notification")
    order = ask(f"{urls['order']}/orders?size=500")[-1]["orderId"]
    if "notification" in wanted:
        order_of_nobody_told(urls)
    good = True
    for service in wanted:
        known = {"topic": TOPICS[service], "orderId": order, "productId": "tea", "saga": "PlaceOrder"}
        known["replay"] = replay(urls[service], TOPICS[service])
        if service == "notification":
            known["letter"] = dead_letter(urls[service])
        good &= check(service, urls[service], known)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
