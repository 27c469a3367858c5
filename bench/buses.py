"""Drains a journal to a bus, beside a plain producer loop of the same client library; see buses.sh.

buses.py GATEWAY PRODUCER NATS COUNT: the programs, and how many events; prints a line for each bus.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request

GATEWAY, PRODUCER, NATS, COUNT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
IN_FLIGHT = 256
HTTP, ADMIN, NATS_PORT, MQTT_PORT = 18080, 18081, 14222, 18840
SPEC = """asyncapi: 3.0.0
info: {title: Bench, version: 1.0.0}
channels:
  made: {address: made, messages: {made: {name: made}}}
"""


def start(*command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def post(url, body, media_type="application/json"):
    request = urllib.request.Request(url, body.encode(), {"content-type": media_type})
    return urllib.request.urlopen(request).read()


def ask(query, **variables):
    body = json.dumps({"query": query, "variables": variables})
    answer = json.loads(post(f"http://127.0.0.1:{ADMIN}/graphql", body))
    assert "errors" not in answer, answer
    return answer["data"]


def until(condition):
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.02)


def register(url):
    made = ask('mutation { createApplication(in: { name: "bench" }) { id } }')
    external = {"url": url, "topic": "gateway", "attributes": {"maxInFlight": str(IN_FLIGHT)}}
    added = ask(
        "mutation($a: ID!, $in: EventAPIDefinitionInput!) { addEventAPI(applicationID: $a, in: $in) { id } }",
        **{"a": made["createApplication"]["id"],
           "in": {"spec": {"eventSpecType": "ASYNC_API", "data": SPEC}, "externalSubscriptions": [external]}},
    )
    return f"spec-{added['addEventAPI']['id']}-0"


def publish():
    for first in range(0, COUNT, 500):
        events = [
            {"specversion": "1.0", "id": str(number), "source": "/bench", "type": "made",
             "datacontenttype": "application/octet-stream", "data_base64": "eHh4" * 85 + "eA=="}
            for number in range(first, min(first + 500, COUNT))
        ]
        post(f"http://127.0.0.1:{HTTP}/events", json.dumps(events), "application/cloudevents-batch+json")


def drain(url):
    with tempfile.TemporaryDirectory() as data:
        gateway = start(GATEWAY, "serve", "--dev", "--data", data, "--http", f"127.0.0.1:{HTTP}",
                        "--mqtt", "127.0.0.1:18830", "--admin", f"127.0.0.1:{ADMIN}")
        try:
            until(lambda: ask("{ nextSequence }"))
            name = register(url)
            ask("mutation($n: String!) { pauseSubscription(name: $n) { name } }", n=name)
            publish()
            began_at = time.monotonic()
            ask("mutation($n: String!) { resumeSubscription(name: $n) { name } }", n=name)
            query = "query($n: String!) { subscription(name: $n) { delivered reason } }"
            until(lambda: ask(query, n=name)["subscription"]["delivered"] >= COUNT)
            return time.monotonic() - began_at
        finally:
            gateway.terminate()
            gateway.wait()


def measure(bus, url, address):
    plain = float(subprocess.check_output([PRODUCER, bus, address, str(COUNT), str(IN_FLIGHT)]))
    drained = drain(url)
    print(json.dumps({
        "bus": bus, "events": COUNT, "plain_per_s": round(COUNT / plain),
        "gateway_per_s": round(COUNT / drained), "ratio": round(plain / drained, 2),
    }), flush=True)


with tempfile.TemporaryDirectory() as scratch:
    with open(f"{scratch}/nats.conf", "w") as file:
        file.write(f'listen: "127.0.0.1:{NATS_PORT}"\njetstream {{ store_dir: "{scratch}/nats" }}\n')
    with open(f"{scratch}/mosquitto.conf", "w") as file:
        file.write(f"listener {MQTT_PORT} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
                   "max_queued_messages 0\n")
    brokers = [start(NATS, "-c", f"{scratch}/nats.conf"), start("mosquitto", "-c", f"{scratch}/mosquitto.conf")]
    try:
        time.sleep(1)
        measure("nats", f"nats://127.0.0.1:{NATS_PORT}", f"127.0.0.1:{NATS_PORT}")
        measure("mqtt", f"mqtt://127.0.0.1:{MQTT_PORT}", f"127.0.0.1:{MQTT_PORT}")
    finally:
        for broker in brokers:
            broker.terminate()
