"""The example, its servers and a Prometheus that scrapes them, as processes in which scripts/lib/watch.py causes faults."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException

# The script in whose name failures are reported.
SCRIPT = "watch"
ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = ["order", "inventory", "payment", "notification", "analytics"]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Remove the caller's settings for services, and limit the wait for a database that does not answer.
for name in [name for name in os.environ if name.startswith(("ECOMMERCE_", "OTEL_"))]:
    del os.environ[name]
os.environ["PGCONNECT_TIMEOUT"] = "20"


def end_on_sigterm():
    """Makes SIGTERM raise an exception, so that started processes are ended too. Further signals are ignored."""

    def end(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(143)
    signal.signal(signal.SIGTERM, end)


def http(url, body=None, method=None, timeout=10):
    """Returns the JSON answer of `url`, or the status of an error. Raises OSError if there is no answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with OPENER.open(request, timeout=timeout) as answer:
            text = answer.read()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code


def until(what, seconds, look, seen=lambda: ""):
    """Waits until `look` returns a true value, and returns it. An error message includes the result of `seen`."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except (OSError, HTTPException, ValueError):
            # No answer, or an incomplete one.
            found = None
        if found:
            return found
        if time.monotonic() > end:
            raise SystemExit(f"{SCRIPT}: not true within {seconds} s: {what}{seen()}")
        time.sleep(0.25)


# In random order, so that parallel runs do not use the same ports.
BASES = iter(random.sample(range(23000, 30000, 10), 700))


def free_port(beside=5):
    """Returns a port that is followed by free ports. Each is returned once."""
    for base in BASES:
        sockets = [socket.socket() for _ in range(beside)]
        try:
            for at, one in enumerate(sockets):
                one.bind(("127.0.0.1", base + at))
            return base
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise SystemExit(f"{SCRIPT}: there are no free ports")


class World:
    """All processes. They end together with this object."""

    def __init__(self, asked):
        self.asked, self.data = asked, pathlib.Path(asked.data)
        self.base = free_port()
        self.ports, self.processes = {}, {}

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        try:
            if failed:
                # Before the reason, which a reader expects at the end.
                for name in self.processes:
                    print(f"--- the last lines of {name}\n{(self.data / f'{name}.log').read_text(errors='replace')[-1500:]}", flush=True)
        finally:
            for process in self.processes.values():
                process.kill()
            for process in self.processes.values():
                process.wait()

    def spawn(self, name, command, **environment):
        log = open(self.data / f"{name}.log", "ab")
        self.processes[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.data, env={**os.environ, **environment}
        )

    def start(self, service, name=None, arguments=(), broker="", wait=True, **environment):
        """Starts a process of a service, and waits until it answers. `broker` is appended to the log's URL."""
        name = name or service
        if name not in self.ports:
            base = self.base if name == service else free_port()
            self.ports[name] = base + SERVICES.index(service)
        base = self.ports[name] - SERVICES.index(service)
        command = [os.path.abspath(self.asked.program), "--no-demo", "--base-port", str(base), "--services", service]
        command += ["--data-dir", str(self.data / name), "--broker", f"kafka://{self.asked.kafka}{broker}", "--database", f"{self.asked.postgres}?pool=9"]
        self.spawn(name, command + list(arguments), **environment)
        if wait:
            until(f"{name} answers", 120, lambda: http(self.url(name, "/health/live")))
            self.scrape()

    def stop(self, name, how=signal.SIGTERM):
        process = self.processes[name]
        process.send_signal(how)
        code = process.wait(60)
        if how == signal.SIGTERM and code != 0:
            raise SystemExit(f"watch: {name} ended with {code} after SIGTERM")

    def forget(self, name, how=signal.SIGTERM):
        """Stops a process, and removes it from the targets of Prometheus."""
        self.stop(name, how)
        del self.ports[name]
        self.scrape()

    def url(self, name, path):
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def server(self, kind, *command, **environment):
        """Runs scripts/kafka or scripts/postgres on the servers of this run."""
        done = subprocess.run(
            [ROOT / "scripts" / kind, *command, "--data", str(self.data / kind)],
            capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=240,
        )
        if done.returncode:
            raise SystemExit(f"watch: scripts/{kind} {command}: {done.stderr}")
        return done.stdout.strip()

    def java(self, kind, *arguments, wait=True):
        """Runs a tool of Apache Kafka."""
        command = ["java", "-cp", f"{self.asked.jars}/*", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", kind, *arguments]
        if not wait:
            self.spawn("java", command)
            return
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise SystemExit(f"watch: {kind}: {done.stdout}{done.stderr}")

    def publish(self, topic, line):
        """Publishes a record: headers, key and value, separated by tabs."""
        properties = ["parse.headers=true", "parse.key=true", "headers.separator=;", "headers.key.separator=="]
        command = ["java", "-cp", f"{self.asked.jars}/*", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
        command += ["org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", self.asked.kafka, "--topic", topic]
        for one in properties:
            command += ["--property", one]
        done = subprocess.run(command, input=line + "\n", capture_output=True, text=True, check=False, timeout=120)
        if done.returncode or "ERROR" in done.stderr:
            raise SystemExit(f"watch: no record was published: {done.stdout}{done.stderr}")

    def psql(self, text):
        command = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", self.asked.postgres]
        for statement in text.split(";"):
            command += ["--command", statement]
        return command

    def sql(self, text):
        """Runs statements one after another."""
        subprocess.run(self.psql(text), check=True, stdout=subprocess.DEVNULL, timeout=60)

    def hold(self, text):
        """Runs statements in a session that stays open until `let_go`."""
        self.spawn(f"psql-{len(self.processes)}", self.psql(text))

    def let_go(self):
        # A session whose client has ended continues to sleep, and keeps its locks.
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")

    # ---- orders --------------------------------------------------------------------------------

    def place(self, product="tea", quantity=1, price=9.9):
        item = {"productId": product, "quantity": quantity, "unitPrice": price}
        placed = http(self.url("order", "/orders"), {"customerId": "watch", "items": [item]})
        if not isinstance(placed, dict):
            raise SystemExit(f"watch: an order was answered {placed}")
        return placed["orderId"]

    def status(self, order):
        answer = http(self.url("order", f"/orders/{order}/status"))
        return answer["status"] if isinstance(answer, dict) else None

    def bench(self, *options):
        """Runs the benchmark in a process of its own."""
        self.spawn("bench", [os.path.abspath(self.asked.program), "bench", "--base-port", str(self.base), *options])
        return self.processes["bench"]

    def ends(self, orders, seconds=120):
        final = ("COMPLETED", "CANCELLED")
        until("every order ends", seconds, lambda: all(self.status(order) in final for order in orders))

    # ---- Prometheus ----------------------------------------------------------------------------

    def scrape(self):
        """Writes the targets of Prometheus: all processes that were started, so that one that has ended is down."""
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"service": name.split("-")[0]}} for name, port in self.ports.items()
        ]
        path = self.data / "targets.json"
        path.with_suffix(".new").write_text(json.dumps(targets))
        path.with_suffix(".new").rename(path)

    def prometheus(self, rules):
        """Starts Prometheus with these rules."""
        for name, text in rules.items():
            (self.data / name).write_text(text)
        (self.data / "prometheus.yml").write_text(
            json.dumps(
                {
                    # A scrape takes up to two seconds while the service does not respond, because it checks whether the service is ready.
                    "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
                    "rule_files": list(rules),
                    "scrape_configs": [
                        {
                            "job_name": "sagas",
                            "honor_labels": True,
                            "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}],
                        }
                    ],
                }
            )
        )
        self.watcher = free_port(1)
        self.scrape()
        self.spawn(
            "prometheus",
            ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{self.watcher}", "--storage.tsdb.path=metrics", "--log.level=warn"],
        )
        until("Prometheus answers", 60, lambda: self.query("vector(1)"))

    def query(self, text, **times):
        """Returns the result of a query: now, or over a period with start, end and step."""
        kind = "query_range" if times else "query"
        asked = urllib.parse.urlencode({"query": text, **times})
        with OPENER.open(f"http://127.0.0.1:{self.watcher}/api/v1/{kind}?{asked}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def sum(self, series, name):
        """Returns the sum of a series of one process, and the number of series. Without a series, both are 0."""
        of = f'{series}{{instance="127.0.0.1:{self.ports[name]}"}}'
        return [float(found[0]["value"][1]) if (found := self.query(f"{what}({of})")) else 0 for what in ("sum", "count")]

    def fired_within(self, seconds):
        found = self.query(f'max_over_time(ALERTS{{alertstate="firing"}}[{max(1, int(seconds))}s])')
        return {one["metric"]["alertname"] for one in found}

    def firing(self):
        return {found["metric"]["alertname"] for found in self.query('ALERTS{alertstate="firing"}')}

    def and_firing(self):
        """Returns the text that is added to an error."""
        return f"; these alerts fire: {', '.join(sorted(self.firing())) or 'none'}"
