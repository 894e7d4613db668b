"""Causes a fault for each alert and waits for the alert; then runs every query of every dashboard. See scripts/watch."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import time
import uuid

from watched import OPENER, ROOT, SERVICES, World, end_on_sigterm, free_port, http, until

LAG = "sagas_consumer_lag_records"

# Effects on a service that is frozen or limited show in analytics: it only consumes, and nothing waits for it.
ANALYTICS = {
    # A client id of its own, to which a quota of the broker applies, and the shortest session timeout that a broker allows.
    "broker": "?client.id=analytics&session.timeout.ms=6000",
    # The queue is soon full, and a stalled partition is soon reported.
    "ECOMMERCE_LIMITS__QUEUE_MESSAGES": "16",
    "ECOMMERCE_LIMITS__STALL_WARNING_S": "10",
}
# A rate of orders that every machine can handle, and as fast as possible.
STEADILY = ["--orders", "60", "--rate", "15", "--connections", "8"]
AT_ONCE = ["--orders", "300", "--connections", "16"]

# Windows and limits of the rules in the copy under test: seconds instead of minutes, a few instead of thousands.
SHORTER = [
    (r"for: [1-9]\d*m", "for: 1s"),
    (r"\[(1|5|10)m\]", "[12s]"),
    (r"\[15m\]", "[20s]"),
    (r"\[15m:1m\]\) > 7", "[20s:2s]) > 3"),
    (r"offset 15m", "offset 20s"),
    (r"put_off_oldest_seconds\) > 600", "put_off_oldest_seconds) > 3"),
    (r"row_age_seconds\) > 30", "row_age_seconds) > 5"),
    (r"overdue_seconds\) > 60", "overdue_seconds) > 3"),
    (r"outbox_rows\) > 5000", "outbox_rows) > 5"),
    (r":max > 1000", ":max > 20"),
    (r"\[20s\]\) > 10\b", "[20s]) > 1"),
]


def shortened():
    rules = {}
    for path in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml")):
        text = path.read_text()
        for what, instead in SHORTER:
            text = re.sub(what, instead, text)
        rules[path.name] = text
    return rules


class Watch:
    def __init__(self, world, alerts):
        self.world, self.alerts, self.fired, self.began = world, alerts, set(), time.time()
        self.expected, self.since = set(), self.began

    def expects(self, *names):
        """Waits until none of these alerts fires, so that alerts from now on are caused by the next fault and not by an earlier one."""
        for name in names:
            if name not in self.alerts:
                raise SystemExit(f"watch: there is no alert {name}")
        self.ends(*names)
        self.expected, self.since = set(names), time.time()

    def fires(self, *names, seconds=90):
        """Waits until each of these expected alerts has fired since then."""
        for name in names:
            assert name in self.expected, name
            until(f"{name} fires", seconds, lambda name=name: self.has_fired(name), self.world.and_firing)
            self.fired.add(name)
            print(f"  {name} has fired, {time.time() - self.since:.0f} s after its fault was begun", flush=True)

    def has_fired(self, name):
        return name in self.world.fired_within(time.time() - self.since)

    def ends(self, *names, seconds=120):
        until(f"{', '.join(names)} ends", seconds, lambda: not self.world.firing() & set(names), self.world.and_firing)


def say(text):
    print(f"== {text}", flush=True)


def healthy(world, watch):
    say("in health no alert fires")
    # Enough stock for everything that follows.
    http(world.url("inventory", "/products/tea/restock"), {"quantity": 1_000_000})
    code = world.bench(*STEADILY).wait(300)
    if code:
        raise SystemExit(f"watch: the bench ended with {code}")
    world.ends([world.place(), world.place("sold-out"), world.place("teapot", 1, 5000.01)])
    for name in world.ports:
        with OPENER.open(world.url(name, "/metrics"), timeout=10) as answer:
            text = answer.read()
        said = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=30)
        if said.returncode or said.stdout or said.stderr:
            raise SystemExit(f"watch: promtool check metrics of {name}: {said.stdout}{said.stderr}")
    # Wait until the load has been handled; then no alert fires, and none fires for a while. The metrics are late by a scrape, and by the
    # time until a service counts its rows again.
    rest = time.monotonic()
    until("nothing fires for ten seconds", 120, lambda: time.monotonic() > rest + 10 and not world.fired_within(10), world.and_firing)


def bugs(world, watch):
    say("a handler that panics, a job that panics")
    watch.expects("SagasHandlerPanics", "SagasTaskPanics")
    world.ports["sensors"] = free_port(1)
    world.spawn("sensors", [os.path.abspath(world.asked.bugs), str(world.ports["sensors"])])
    world.scrape()
    watch.fires("SagasHandlerPanics", "SagasTaskPanics")
    world.forget("sensors", signal.SIGINT)


def readers(world, watch):
    say("readers of the stream that take nothing")
    watch.expects("EcommerceStreamReadersSlow")
    silent = []
    for _ in range(12):
        reader = socket.socket()
        # Small segments and a small window, so that little data is in flight.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        reader.connect(("127.0.0.1", world.ports["analytics"]))
        reader.sendall(b"GET /analytics/stream HTTP/1.1\r\nHost: watch\r\n\r\n")
        silent.append(reader)

    drivers = [world.bench(*AT_ONCE)]

    def dropped():
        if drivers[-1].poll() is not None:
            drivers.append(world.bench(*AT_ONCE))
        return watch.has_fired("EcommerceStreamReadersSlow")
    until("readers of the stream are too slow", 300, dropped, world.and_firing)
    watch.fires("EcommerceStreamReadersSlow")
    drivers[-1].wait(300)
    for reader in silent:
        reader.close()


def freezing(world, watch):
    say("an instance that freezes in the middle of its work")
    watch.expects("SagasFencedOften")
    _, read = world.sum(LAG, "analytics")
    world.start("analytics", "analytics-2", **ANALYTICS)
    until("both instances read", 120, lambda: 0 < world.sum(LAG, "analytics")[1] < read and world.sum(LAG, "analytics-2")[1])
    world.hold("BEGIN;LOCK TABLE analytics.sagas_inbox IN EXCLUSIVE MODE;SELECT pg_sleep(300)")
    orders = []

    def busy():
        orders.append(world.place())
        return world.sum(LAG, "analytics")[0] >= 6
    until("the instance is in the middle of its work", 120, busy)
    world.processes["analytics"].send_signal(signal.SIGSTOP)
    until("the other has all partitions", 120, lambda: world.sum(LAG, "analytics-2")[1] == read)
    world.processes["analytics"].send_signal(signal.SIGCONT)
    # Prometheus must have its earlier values, to detect that they grow.
    until("the first answers again", 120, lambda: world.sum("up", "analytics")[0] == 1)
    world.let_go()
    watch.fires("SagasFencedOften")
    world.ends(orders)
    world.forget("analytics-2")


def quota(world, watch):
    say("a broker that answers, and gives next to nothing")
    watch.expects("SagasPartitionStalled")
    config = ["kafka.admin.ConfigCommand", "--bootstrap-server", world.asked.kafka, "--alter", "--entity-type", "clients"]
    config += ["--entity-name", "analytics"]
    world.java(*config, "--add-config", "consumer_byte_rate=1")
    orders = [world.place() for _ in range(6)]
    watch.fires("SagasPartitionStalled")
    world.java(*config, "--delete-config", "consumer_byte_rate")
    world.ends(orders)
    watch.ends("SagasPartitionStalled")


def records_and_settings(world, watch):
    say("a record without a type, an open transaction, a database that does not wait for its disk, a collector that is not there, members that come and go")
    watch.expects("SagasDeadLettersOpen", "SagasBehindOpenTransaction", "SagasCondition", "SagasSpansDropped", "SagasRebalancesOften")
    perf = ["org.apache.kafka.tools.ProducerPerformance", "--topic", "orders", "--record-size", "20"]
    properties = ["--producer-props", f"bootstrap.servers={world.asked.kafka}"]
    world.java(*perf, "--num-records", "1", "--throughput", "-1", *properties)
    # Records of thirty seconds in one transaction.
    open_for = ["--num-records", "60", "--throughput", "2", "--transaction-duration-ms", "60000"]
    world.java(*perf, *open_for, *properties, "transactional.id=left-open", wait=False)
    world.sql("ALTER ROLE sagas SET synchronous_commit = off")
    # It also sends all its traces to a collector that does not exist; the others send none.
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "always_on"}
    world.start("notification", "notification-2", **traced)
    # Some orders wait behind the transaction, and some are handled by the process whose collector is missing.
    orders = []

    def dropped():
        orders.append(world.place())
        return watch.has_fired("SagasSpansDropped")
    until("spans are dropped", 120, dropped, world.and_firing)
    watch.fires("SagasDeadLettersOpen", "SagasBehindOpenTransaction", "SagasCondition", "SagasSpansDropped")
    world.ends(orders)
    world.stop("notification-2")
    world.start("notification", "notification-2")
    world.stop("notification-2")
    watch.fires("SagasRebalancesOften")
    world.ports.pop("notification-2")
    world.scrape()
    world.sql("ALTER ROLE sagas RESET synchronous_commit")
    world.processes["java"].wait(120)
    watch.ends("SagasBehindOpenTransaction")

    def settled():
        for service in SERVICES:
            http(world.url(service, "/dead-letters/discard"), {"all": True})
        return "SagasDeadLettersOpen" not in world.firing()
    until("the letters are settled", 120, settled)


def flows(world, watch):
    say("a gateway that is down, no stock service, deadlines that pass")
    watch.expects(
        "EcommercePaymentBreakerOpen", "SagasParkedKeys", "SagasMessagesPutOff", "SagasInstanceDown", "SagasInstancesNeedAttention",
        "EcommercePaymentGatewaySlow", "SagasEventsNotAllowed",
    )
    http(world.url("payment", "/gateway"), {"outage": True}, "PUT")
    waiting = [world.place() for _ in range(4)]
    until("the stock is held", 60, lambda: all(world.status(order) == "INVENTORY_RESERVED" for order in waiting))
    world.stop("inventory", signal.SIGKILL)
    watch.fires("EcommercePaymentBreakerOpen", "SagasParkedKeys", "SagasMessagesPutOff", "SagasInstanceDown")
    # Their deadline passes, and the compensations do not happen in time.
    watch.fires("SagasInstancesNeedAttention")
    world.start("inventory")
    http(world.url("payment", "/gateway"), {"outage": False, "latencyMs": 7000}, "PUT")
    world.ends(waiting)
    slow = [world.place() for _ in range(3)]
    watch.fires("EcommercePaymentGatewaySlow")
    http(world.url("payment", "/gateway"), {"latencyMs": 0}, "PUT")
    world.ends(slow)
    print("  an event that the saga no longer allows", flush=True)
    headers = f"ce_id={uuid.uuid4()};ce_type=PaymentFailed;ce_source=payment;ce_specversion=1.0;ce_schemaversion=1"
    amount = {"minor_units": 990, "currency": "EUR"}
    event = {"order_id": slow[0], "payment_id": str(uuid.uuid4()), "amount": amount, "reason": "too late"}
    world.publish("payments", f"{headers}\t{slow[0]}\t{json.dumps(event)}")
    watch.fires("SagasEventsNotAllowed")
    watch.ends("EcommercePaymentBreakerOpen", "SagasParkedKeys", "SagasInstanceDown", "SagasInstancesNeedAttention")


def database(world, watch):
    say("tables that are locked, sessions that are cut")
    watch.expects("SagasLagGrowing", "SagasLagOld", "SagasPartitionPaused", "SagasDeadlineOverdue")
    http(world.url("payment", "/gateway"), {"outage": True}, "PUT")
    late = world.place()
    until("the stock is held", 60, lambda: world.status(late) == "INVENTORY_RESERVED")
    world.hold("BEGIN;LOCK TABLE analytics.sagas_inbox IN EXCLUSIVE MODE;SELECT pg_sleep(300)")
    http(world.url("payment", "/gateway"), {"outage": False}, "PUT")
    driver = world.bench(*STEADILY)
    watch.fires("SagasLagGrowing", "SagasLagOld", "SagasPartitionPaused")
    world.let_go()
    driver.wait(300)
    http(world.url("payment", "/gateway"), {"outage": True}, "PUT")
    late = world.place()
    until("the stock is held", 60, lambda: world.status(late) == "INVENTORY_RESERVED")
    world.hold('BEGIN;LOCK TABLE "order".sagas_instances IN EXCLUSIVE MODE;SELECT pg_sleep(300)')
    watch.fires("SagasDeadlineOverdue")
    world.let_go()
    http(world.url("payment", "/gateway"), {"outage": False}, "PUT")
    world.ends([late])
    watch.ends("SagasLagGrowing", "SagasLagOld", "SagasPartitionPaused", "SagasDeadlineOverdue")


def log(world, watch):
    say("records that are gone, brokers that are gone")
    watch.expects(
        "SagasRecordsMissing", "SagasNotReady", "SagasMissingRecordsSkipped", "SagasOutboxOld", "SagasOutboxFilling",
        "SagasLogUnreachable", "SagasBrokerDown",
    )
    world.stop("notification")
    world.ends([world.place() for _ in range(12)])
    until("the numbers are up to date", 90, lambda: not world.query('sagas_group_lag_records{service!="notification"} > 0'))
    partitions = [{"topic": topic, "partition": at, "offset": -1} for topic in ("orders", "inventory") for at in range(6)]
    (world.data / "delete.json").write_text(json.dumps({"version": 1, "partitions": partitions}))
    world.java(
        "org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server", world.asked.kafka,
        "--offset-json-file", str(world.data / "delete.json"),
    )
    world.start("notification")
    watch.fires("SagasRecordsMissing", "SagasNotReady")
    world.stop("notification")
    world.start("notification", ECOMMERCE_LIMITS__ON_GAP="oldest")
    watch.fires("SagasMissingRecordsSkipped")
    watch.ends("SagasRecordsMissing", "SagasNotReady")
    world.server("kafka", "stop", "--now")
    waiting = [world.place() for _ in range(8)]
    watch.fires("SagasOutboxOld", "SagasOutboxFilling", "SagasLogUnreachable", "SagasBrokerDown")
    world.server("kafka", "start")
    world.ends(waiting)
    watch.ends("SagasOutboxOld", "SagasOutboxFilling", "SagasLogUnreachable", "SagasBrokerDown")


def outage(world, watch):
    say("a database that is gone, and comes back with a clock that is ahead")
    watch.expects("SagasStoreFailures", "SagasCriticalCondition", "SagasClockSkew")
    world.place()
    world.server("postgres", "stop", "--now")
    watch.fires("SagasStoreFailures", "SagasCriticalCondition")
    asked = ["faketime", "-m", "-f", "+0s", "printenv", "LD_PRELOAD"]
    preload = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30)
    world.server("postgres", "start", LD_PRELOAD=preload.stdout.strip(), FAKETIME="+20s")
    watch.fires("SagasClockSkew")
    watch.ends("SagasCriticalCondition", "SagasNotReady")
    world.ends([world.place()])


def panels(dashboard):
    for panel in dashboard["panels"]:
        yield from panel.get("panels", [])
        yield panel


def dashboards(world, watch):
    say("every query of every dashboard answers")
    times = {"start": watch.began, "end": time.time(), "step": 2}
    asked = 0
    for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in panels(json.loads(path.read_text())):
            for target in panel.get("targets", []):
                text = target["expr"].replace("$__rate_interval", "15s").replace("$__range", "60s").replace("$instance", ".*")
                for service in SERVICES if "$service" in text else [""]:
                    if service in target.get("notOf", []):
                        continue
                    asked += 1
                    if not world.query(text.replace("$service", service), **times):
                        raise SystemExit(f"watch: {path.name}, panel {panel['title']!r}: nothing answers {text} {service}")
    print(f"  {asked} queries answered", flush=True)


def main():
    end_on_sigterm()
    parser = argparse.ArgumentParser()
    for name in ("data", "program", "bugs", "kafka", "postgres", "jars"):
        parser.add_argument(f"--{name}", required=True)
    rules = shortened()
    alerts = set(re.findall(r"- alert: (\w+)", "".join(rules.values())))
    with World(parser.parse_args()) as world:
        world.prometheus(rules)
        for service in SERVICES:
            # A short deadline, so that an instance is soon overdue.
            more = {"order": {"arguments": ["--order-deadline", "16s"]}, "analytics": ANALYTICS}.get(service, {})
            world.start(service, **more)
        until("all are ready", 120, lambda: len(world.query("sagas_ready == 1")) == len(SERVICES))
        watch = Watch(world, alerts)
        for part in (healthy, bugs, readers, records_and_settings, flows, database, freezing, quota, log, outage):
            part(world, watch)
        missed = alerts - watch.fired
        if missed:
            raise SystemExit(f"watch: these alerts were not fired: {', '.join(sorted(missed))}")
        dashboards(world, watch)
        print(f"  all {len(alerts)} alerts have fired")


main()
