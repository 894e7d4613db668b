"""Makes the fault that each alert is for, and waits for the alert; then asks every query of every dashboard. See scripts/watch."""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
import uuid

from watched import OPENER, ROOT, SERVICES, World, http, until

# What no fault can make here in a reasonable time. `promtool test rules` fires them.
BY_RULE_TESTS_ONLY = {
    "SagasPartitionStalled": "a broker that answers and gives nothing of one partition",
    "SagasFencedOften": "a process that freezes in the middle of a commit, again and again",
    "EcommerceStreamReadersSlow": "readers that leave megabytes unread",
    "SagasHandlerPanics": "a bug",
    "SagasTaskPanics": "a bug",
}

# Windows and limits of the rules, in the copy that is tried: seconds instead of minutes, a few instead of thousands.
SHORTER = [
    (r"for: [1-9]\d*m", "for: 1s"),
    (r"\[(1|5|10)m\]", "[12s]"),
    (r"\[15m\]", "[20s]"),
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
        self.world, self.alerts, self.fired, self.began = world, alerts, {}, time.time()
        self.since = self.began

    def begin(self):
        """What is made from now on is a fault of its own: an alert that has fired before does not count."""
        self.since = time.time()

    def fires(self, *names, seconds=40):
        """Waits until each of these alerts has fired since the fault was made."""
        for name in names:
            if name not in self.alerts:
                raise SystemExit(f"watch: there is no alert {name}")

            def look(name=name):
                return name in self.world.fired_within(time.time() - self.since)
            until(f"{name} fires", seconds, look, self.world.and_firing)
            self.fired.setdefault(name, time.time() - self.began)
            print(f"  {name} has fired, {time.time() - self.since:.0f} s after its fault was begun", flush=True)

    def ends(self, *names, seconds=60):
        until(f"{', '.join(names)} ends", seconds, lambda: not self.world.firing() & set(names), self.world.and_firing)


def say(text):
    print(f"== {text}", flush=True)


def healthy(world, watch):
    say("in health no alert fires")
    bench = [world.asked.program, "bench", "--orders", "60", "--rate", "15", "--connections", "8", "--base-port", str(world.base)]
    subprocess.run(bench, check=True, stdout=subprocess.DEVNULL, timeout=180)
    world.ends([world.place(), world.place("sold-out"), world.place("teapot", 1, 5000.01)])
    for name in world.ports:
        with OPENER.open(world.url(name, "/metrics"), timeout=10) as answer:
            text = answer.read()
        said = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=30)
        if said.returncode or said.stdout or said.stderr:
            raise SystemExit(f"watch: promtool check metrics of {name}: {said.stdout}{said.stderr}")
    # What the load has moved comes to rest; then nothing fires, and stays so. The numbers are older than the rest by a scrape and by what a
    # service takes to count its rows anew.
    rest = time.monotonic()
    until("nothing fires for ten seconds", 60, lambda: time.monotonic() > rest + 10 and not world.fired_within(10), world.and_firing)


def records_and_settings(world, watch):
    say("a record without a type, an open transaction, a database that does not wait for its disk, a collector that is not there, members that come and go")
    perf = ["org.apache.kafka.tools.ProducerPerformance", "--topic", "orders", "--record-size", "20"]
    properties = ["--producer-props", f"bootstrap.servers={world.asked.kafka}"]
    world.java(*perf, "--num-records", "1", "--throughput", "-1", *properties)
    # Thirty seconds of records in one transaction.
    open_for = ["--num-records", "60", "--throughput", "2", "--transaction-duration-ms", "60000"]
    world.java(*perf, *open_for, *properties, "transactional.id=left-open", wait=False)
    world.sql("ALTER ROLE sagas SET synchronous_commit = off")
    # It also tells its traces to a collector that is not there.
    world.start("notification", "notification-2", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    # Some of them wait behind the transaction.
    world.ends([world.place() for _ in range(6)], seconds=90)
    watch.fires("SagasDeadLettersOpen", "SagasBehindOpenTransaction", "SagasCondition", "SagasSpansDropped")
    world.stop("notification-2")
    world.start("notification", "notification-2")
    world.stop("notification-2")
    watch.fires("SagasRebalancesOften")
    world.ports.pop("notification-2")
    world.scrape()
    world.sql("ALTER ROLE sagas RESET synchronous_commit")
    world.processes["java"].wait(90)
    watch.ends("SagasBehindOpenTransaction")

    def settled():
        for service in SERVICES:
            http(world.url(service, "/dead-letters/discard"), {"all": True})
        return "SagasDeadLettersOpen" not in world.firing()
    until("the letters are settled", 60, settled)


def flows(world, watch):
    say("a gateway that is down, no stock service, deadlines that pass")
    http(world.url("payment", "/gateway"), {"outage": True}, "PUT")
    waiting = [world.place() for _ in range(4)]
    until("the stock is held", 20, lambda: all(world.status(order) == "INVENTORY_RESERVED" for order in waiting))
    world.stop("inventory", signal.SIGKILL)
    watch.fires("EcommercePaymentBreakerOpen", "SagasParkedKeys", "SagasMessagesPutOff", "SagasInstanceDown")
    # Their deadline passes, and nothing is given back in time.
    watch.fires("SagasInstancesNeedAttention", seconds=60)
    world.start("inventory")
    http(world.url("payment", "/gateway"), {"outage": False, "latencyMs": 7000}, "PUT")
    world.ends(waiting)
    slow = [world.place() for _ in range(3)]
    watch.fires("EcommercePaymentGatewaySlow", seconds=60)
    http(world.url("payment", "/gateway"), {"latencyMs": 0}, "PUT")
    world.ends(slow)
    print("  an event that the flow does not allow any more", flush=True)
    headers = f"ce_id={uuid.uuid4()};ce_type=PaymentFailed;ce_source=payment;ce_specversion=1.0;ce_schemaversion=1"
    amount = {"minor_units": 990, "currency": "EUR"}
    event = {"order_id": slow[0], "payment_id": str(uuid.uuid4()), "amount": amount, "reason": "too late"}
    world.publish("payments", f"{headers}\t{slow[0]}\t{json.dumps(event)}")
    watch.fires("SagasEventsNotAllowed")
    watch.ends("EcommercePaymentBreakerOpen", "SagasParkedKeys", "SagasInstanceDown", "SagasInstancesNeedAttention")


def database(world, watch):
    say("tables that are locked, sessions that are cut")
    http(world.url("payment", "/gateway"), {"outage": True}, "PUT")
    late = world.place()
    until("the stock is held", 20, lambda: world.status(late) == "INVENTORY_RESERVED")
    world.hold("BEGIN;LOCK TABLE analytics.sagas_inbox IN EXCLUSIVE MODE;SELECT pg_sleep(300)")
    bench = [world.asked.program, "bench", "--orders", "60", "--rate", "15", "--connections", "8", "--base-port", str(world.base)]
    http(world.url("payment", "/gateway"), {"outage": False}, "PUT")
    driver = subprocess.Popen(bench, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watch.fires("SagasLagGrowing", "SagasLagOld", "SagasPartitionPaused")
    world.let_go()
    driver.wait(180)
    http(world.url("payment", "/gateway"), {"outage": True}, "PUT")
    late = world.place()
    until("the stock is held", 20, lambda: world.status(late) == "INVENTORY_RESERVED")
    world.hold('BEGIN;LOCK TABLE "order".sagas_instances IN EXCLUSIVE MODE;SELECT pg_sleep(300)')
    watch.fires("SagasDeadlineOverdue", seconds=60)
    world.let_go()
    http(world.url("payment", "/gateway"), {"outage": False}, "PUT")
    world.ends([late])
    watch.ends("SagasLagGrowing", "SagasLagOld", "SagasPartitionPaused", "SagasDeadlineOverdue")


def log(world, watch):
    say("records that are gone, brokers that are gone")
    world.stop("notification")
    world.ends([world.place() for _ in range(12)])
    until("the numbers are up to date", 30, lambda: not world.query('sagas_group_lag_records{service!="notification"} > 0'))
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
    watch.fires("SagasOutboxOld", "SagasOutboxFilling", "SagasLogUnreachable", "SagasBrokerDown", seconds=60)
    world.server("kafka", "start")
    world.ends(waiting, seconds=90)
    watch.ends("SagasOutboxOld", "SagasOutboxFilling", "SagasLogUnreachable", "SagasBrokerDown")


def outage(world, watch):
    say("a database that is gone, and comes back with a clock that is ahead")
    world.place()
    world.server("postgres", "stop", "--now")
    watch.fires("SagasStoreFailures", "SagasCriticalCondition", seconds=60)
    asked = ["faketime", "-m", "-f", "+0s", "printenv", "LD_PRELOAD"]
    preload = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30)
    world.server("postgres", "start", LD_PRELOAD=preload.stdout.strip(), FAKETIME="+20s")
    watch.fires("SagasClockSkew", seconds=60)
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
    # As an exception, so that what has been started ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser()
    for name in ("data", "program", "kafka", "postgres", "jars"):
        parser.add_argument(f"--{name}", required=True)
    rules = shortened()
    alerts = set(re.findall(r"- alert: (\w+)", "".join(rules.values())))
    with World(parser.parse_args()) as world:
        world.prometheus(rules)
        for service in SERVICES:
            # A flow is late soon, and a queue is full soon.
            more = {"order": ["--order-deadline", "12s"]}.get(service, [])
            small = {"ECOMMERCE_LIMITS__QUEUE_MESSAGES": "16"} if service == "analytics" else {}
            world.start(service, arguments=more, **small)
        until("all are ready", 60, lambda: len(world.query("sagas_ready == 1")) == len(SERVICES))
        watch = Watch(world, alerts)
        for part in (healthy, records_and_settings, flows, database, log, outage):
            watch.begin()
            part(world, watch)
        missed = alerts - set(watch.fired) - set(BY_RULE_TESTS_ONLY)
        if missed:
            raise SystemExit(f"watch: these alerts were not fired: {', '.join(sorted(missed))}")
        dashboards(world, watch)
        print(f"  {len(set(watch.fired) & alerts)} of {len(alerts)} alerts fired; the rules' own tests fire {', '.join(BY_RULE_TESTS_ONLY)}")


main()
