"""Runs the services of compose.yaml as in their containers, and tests them. See scripts/containers."""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import watched
from watched import OPENER, SERVICES, end_on_sigterm, free_port, http, until

watched.SCRIPT = "containers"
# The first one that nothing else on this machine uses is taken.
SUBNETS = ["10.89.77", "10.213.77", "172.29.77", "192.168.213"]
# The exit code when containers have no network: scripts/containers continues without them.
NO_NETWORK = 75
# The time limit of a podman command, in seconds.
LIMIT = 120
TOKEN = "the-token-of-a-run-of-the-script"


def forward(address, port, to):
    """Forwards connections from `address`, where the containers expect kafka and postgres, to a server of this machine."""

    def pump(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(listener):
        while True:
            client, _ = listener.accept()
            try:
                server = socket.create_connection(to)
            except OSError:
                client.close()
                continue
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # The address exists from the first container on.
    listener.setsockopt(socket.SOL_IP, getattr(socket, "IP_FREEBIND", 15), 1)
    listener.bind((address, port))
    listener.listen(200)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()


def environment(compose, service):
    """Returns the environment of a service in compose.yaml as a dictionary."""
    said = compose["services"][service]["environment"]
    return said if isinstance(said, dict) else dict(one.split("=", 1) for one in said)


class Containers:
    """The services in containers, in a network of their own."""

    what = "containers by podman, a read-only root, no capabilities"

    def __init__(self, asked, compose):
        self.asked, self.compose, self.addresses = asked, compose, {}
        self.prefix = f"sagas-{os.getpid()}"
        self.token = pathlib.Path(asked.data) / "operator-token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o644)

    def begin(self):
        """Creates the network, and tests it with a container that only sleeps: to the servers, and from here to the container."""
        for self.subnet in SUBNETS:
            try:
                run("podman", "network", "create", "--subnet", f"{self.subnet}.0/24", "--gateway", f"{self.subnet}.1", self.prefix)
                break
            except Refused:
                if self.subnet == SUBNETS[-1]:
                    raise
        for port, to in ((9092, self.asked.kafka), (5432, self.asked.postgres.split("@")[1].split("/")[0])):
            host, at = to.split(":")
            forward(f"{self.subnet}.1", port, (host, int(at)))
        self.start("probe", "order", "sleep", "300")
        for host, port in (("kafka", 9092), ("postgres", 5432)):
            done = self.inside("probe", "timeout", "10", "bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}")
            if done.returncode:
                raise Refused(f"containers: a container does not reach {host}: {done.stderr}")
        try:
            socket.create_connection((self.addresses["probe"], 8081), timeout=10).close()
        except ConnectionRefusedError:
            # No server listens there, but the machine was reached.
            pass
        self.remove("probe")
        self.addresses.clear()

    def start(self, name, service, *instead):
        """Runs the service, or the command `instead` in its container."""
        said = self.compose["services"][service]
        net = self.subnet
        self.addresses[name] = f"{net}.{19 if instead else 20 + len(self.addresses)}"
        hosts = {"kafka": f"{net}.1", "postgres": f"{net}.1", "inventory": f"{net}.21", "payment": f"{net}.22"}
        command = ["podman", "run", "--detach", "--name", f"{self.prefix}-{name}", "--network", self.prefix, "--ip", self.addresses[name]]
        # Like compose, without a proxy; and the image exists here.
        command += ["--http-proxy=false", "--pull=never"]
        command += [f"--add-host={host}:{address}" for host, address in hosts.items()]
        command += [f"--env={key}={value}" for key, value in environment(self.compose, service).items()]
        command += [f"--cap-drop={dropped}" for dropped in said.get("cap_drop", [])]
        command += [f"--security-opt={option.replace(':true', '')}" for option in said.get("security_opt", [])]
        command += ["--read-only"] if said.get("read_only") else []
        command += [f"--volume={self.token}:/run/secrets/operator-token:ro"]
        command += [f"--entrypoint={instead[0]}", self.asked.image, *instead[1:]] if instead else [self.asked.image]
        run(*command)

    def url(self, name, service):
        return f"http://{self.addresses[name]}:{8081 + SERVICES.index(service)}"

    def inside(self, name, *command):
        command = ["podman", "exec", f"{self.prefix}-{name}", *command]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)

    def stop(self, name, grace):
        began = time.monotonic()
        run("podman", "stop", "--time", str(grace), f"{self.prefix}-{name}")
        code = int(run("podman", "inspect", "--format", "{{.State.ExitCode}}", f"{self.prefix}-{name}"))
        return code, time.monotonic() - began

    def user(self, name):
        return self.inside(name, "id").stdout.strip()

    def logs(self, name):
        command = ["podman", "logs", f"{self.prefix}-{name}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
        return done.stdout + done.stderr

    def remove(self, *names):
        attempt("podman", "rm", "--force", "--time", "1", "--volumes", *(f"{self.prefix}-{name}" for name in names))

    def end(self):
        if self.addresses:
            self.remove(*self.addresses)
        attempt("podman", "network", "rm", "--force", self.prefix)


class ByHand:
    """The services as processes of the image's user, with only the environment of compose.yaml."""

    what = "processes by hand, an unprivileged user"

    def __init__(self, asked, compose):
        self.asked, self.compose, self.processes, self.ports = asked, compose, {}, {}
        self.base = free_port()
        self.token = pathlib.Path(asked.data) / "operator-token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o644)

    def begin(self):
        """No preparation is needed."""

    def start(self, name, service):
        base = self.base if name == service else free_port()
        self.ports[name] = base + SERVICES.index(service)
        data = pathlib.Path(self.asked.data) / f"data-{name}"
        data.mkdir(exist_ok=True)
        said = dict(environment(self.compose, service))
        said |= {"ECOMMERCE_HOST": "0.0.0.0", "ECOMMERCE_NO_DEMO": "true", "ECOMMERCE_DATA_DIR": str(data), "ECOMMERCE_BASE_PORT": str(base)}
        said |= {"ECOMMERCE_OPERATOR_TOKEN_FILE": str(self.token), "ECOMMERCE_BROKER": f"kafka://{self.asked.kafka}"}
        said |= {"ECOMMERCE_DATABASE": self.asked.postgres, "ECOMMERCE_PEERS": "", "PATH": "/usr/bin:/bin"}
        command = [os.path.abspath(self.asked.program)]
        if os.geteuid() == 0:
            os.chown(data, 10001, 10001)
            command = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs", *command]
        log = open(pathlib.Path(self.asked.data) / f"{name}.log", "ab")
        self.processes[name] = (subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=said, cwd=data), said)

    def url(self, name, _service):
        return f"http://127.0.0.1:{self.ports[name]}"

    def inside(self, name, _program, *command):
        _, said = self.processes[name]
        command = [os.path.abspath(self.asked.program), *command]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=said, timeout=LIMIT)

    def stop(self, name, grace):
        process, _ = self.processes[name]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        return process.wait(grace), time.monotonic() - began

    def user(self, name):
        status = pathlib.Path(f"/proc/{self.processes[name][0].pid}/status").read_text()
        return next(line for line in status.splitlines() if line.startswith("Uid:"))

    def logs(self, name):
        return (pathlib.Path(self.asked.data) / f"{name}.log").read_text()

    def end(self):
        for process, _ in self.processes.values():
            process.kill()
            process.wait()


class Refused(SystemExit):
    """A command has failed."""


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    if done.returncode:
        raise Refused(f"containers: {' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def attempt(*command):
    try:
        run(*command)
    except (Refused, OSError, subprocess.SubprocessError):
        pass


def fail(why):
    raise SystemExit(f"containers: {why}")


def healthy(world, names):
    for name in names:
        until(f"`ecommerce health` in {name} answers 0", 90, lambda name=name: world.inside(name, "ecommerce", "health").returncode == 0)


def surface(world):
    """Checks which routes are open, and which need the operator's token."""
    import urllib.request

    url = world.url("order", "order")
    if http(f"{url}/orders") != [] or http(f"{url}/dead-letters") != 401 or http(f"{world.url('payment', 'payment')}/gateway") != 401:
        fail("orders are not open, or what is for operators is")
    request = urllib.request.Request(f"{url}/dead-letters", headers={"authorization": f"Bearer {TOKEN}"})
    with OPENER.open(request, timeout=10) as answer:
        if json.load(answer) != []:
            fail("there are dead letters at the start")


def place(world, number):
    """Places an order. Of five orders, one is declined and one is out of stock."""
    product, price = {1: ("sold-out", 19.0), 3: ("coffee", 5000.01)}.get(number % 5, ("tea", 9.9))
    item = {"productId": product, "quantity": 1, "unitPrice": price}
    answer = http(f"{world.url('order', 'order')}/orders", {"customerId": f"c-{number}", "items": [item]})
    return answer["orderId"] if isinstance(answer, dict) else fail(f"an order was answered {answer}")


EVENTS = {
    0: ["OrderCreated", "InventoryReserved", "PaymentProcessed", "OrderConfirmed"],
    1: ["OrderCreated", "InventoryInsufficient", "OrderCancelled"],
    3: ["OrderCreated", "InventoryReserved", "PaymentFailed", "InventoryReleased", "OrderCancelled"],
}


def ended_in_order(world, orders):
    url = world.url("order", "order")
    for number, order in orders.items():
        expected = EVENTS.get(number % 5, EVENTS[0])

        def seen(order=order, expected=expected):
            answer = http(f"{url}/orders/{order}/events")
            if not isinstance(answer, list):
                return False
            types = [event["type"] for event in answer]
            if types != expected[: len(types)]:
                fail(f"the events of order {order} are {types}, not {expected}")
            return types == expected
        until(f"order {number} has ended", 90, seen)


def handled(world, name):
    with OPENER.open(f"{world.url(name, 'inventory')}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.split()[-1]) for line in lines if line.startswith("sagas_deliveries_total") and 'outcome="done"' in line)


def stops(world, name, grace):
    code, took = world.stop(name, grace)
    if code != 0 or took >= grace:
        fail(f"{name} ended with {code} after {took:.1f} s")


def main():
    end_on_sigterm()
    parser = argparse.ArgumentParser()
    for name in ("data", "compose", "program", "engine", "image", "kafka", "postgres"):
        parser.add_argument(f"--{name}", required=True)
    asked = parser.parse_args()
    compose = json.loads(pathlib.Path(asked.compose).read_text())
    world = (Containers if asked.engine else ByHand)(asked, compose)
    names = [*SERVICES, "inventory-2"]
    try:
        try:
            world.begin()
        except (Refused, OSError, subprocess.SubprocessError) as why:
            print(f"  {why}", flush=True)
            names.clear()
            sys.exit(NO_NETWORK)
        print(f"== five services and a second inventory: {world.what}", flush=True)
        for name in names:
            world.start(name, name.split("-")[0])
        healthy(world, names)
        print(f"  healthy; the user is {world.user('order')}", flush=True)
        surface(world)
        ended_in_order(world, {0: place(world, 0)})
        print("  an order has completed", flush=True)
        # Members join and leave while orders run.
        orders = {number: place(world, number) for number in range(10, 60)}
        until("the second inventory works, too", 60, lambda: handled(world, "inventory-2") > 0)
        grace = int(compose["services"]["order"]["stop_grace_period"].rstrip("s"))
        stops(world, "inventory-2", grace)
        orders |= {number: place(world, number) for number in range(60, 110)}
        ended_in_order(world, orders)
        checked = world.inside("order", "ecommerce", "check")
        if checked.returncode:
            fail(f"the invariants do not hold: {checked.stdout}{checked.stderr}")
        print(f"  {len(orders)} orders ended, each event in its order, over the end of one of two inventories", flush=True)
        for name in SERVICES:
            stops(world, name, grace)
        print(f"  SIGTERM has ended each with 0, within {grace} s", flush=True)
    except BaseException as why:
        # After a signal, the caller needs no reasons.
        for name in [] if getattr(why, "code", None) == 143 else names:
            try:
                print(f"--- {name}\n{world.logs(name)[-1500:]}", flush=True)
            except (OSError, KeyError, subprocess.SubprocessError):
                pass
        raise
    finally:
        world.end()


main()
