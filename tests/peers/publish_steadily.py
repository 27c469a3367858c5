"""Publishes over one HTTPS connection and one MQTTS connection until its input ends.

publish_steadily.py CA_FILE HTTPS_PORT MQTTS_PORT: every event has an id of its own. A connection
that is lost is an error: none is made again. Ends with a line `http N mqtt N`.
"""
import http.client
import json
import ssl
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ca_file, https_port, mqtts_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ended = threading.Event()
errors = []
counts = {"http": 0, "mqtt": 0}


def over_http():
    context = ssl.create_default_context(cafile=ca_file)
    connection = http.client.HTTPSConnection("localhost", https_port, context=context, timeout=30)
    connection.connect()
    while not ended.is_set():
        name = f"http-{counts['http']}"
        event = {"specversion": "1.0", "id": name, "source": "/steady", "type": "t"}
        headers = {"content-type": "application/cloudevents+json"}
        connection.request("POST", "/events", body=json.dumps(event), headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202, answer.status
        assert answer.getheader("connection") != "close", "the gateway ends the connection"
        counts["http"] += 1


def over_mqtt():
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="steady", protocol=mqtt.MQTTv5)
    client.tls_set(ca_certs=ca_file)
    client.on_disconnect = lambda *arguments: errors.append(f"MQTT ended: {arguments[3]}")
    acknowledged = threading.Semaphore(0)
    client.on_publish = lambda *_: acknowledged.release()
    client.connect("localhost", mqtts_port, keepalive=30)
    client.loop_start()
    while not ended.is_set():
        name = f"mqtt-{counts['mqtt']}"
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = "text/plain"
        properties.UserProperty = [
            ("specversion", "1.0"), ("id", name), ("source", "/steady"), ("type", "t")
        ]
        client.publish("steady", name, qos=1, properties=properties)
        assert acknowledged.acquire(timeout=30), f"{name} was not acknowledged"
        assert not errors, errors
        counts["mqtt"] += 1
    client.on_disconnect = None
    client.disconnect()
    client.loop_stop()


def run(work):
    try:
        work()
    except Exception as error:  # The other one goes on, and the end tells.
        errors.append(f"{work.__name__}: {error!r}")


threads = [threading.Thread(target=run, args=[work]) for work in (over_http, over_mqtt)]
for thread in threads:
    thread.start()
while min(counts.values()) < 5 and not errors:
    time.sleep(0.01)
print("under way", flush=True)
sys.stdin.read()
ended.set()
for thread in threads:
    thread.join()
assert not errors, errors
print(f"http {counts['http']} mqtt {counts['mqtt']}")
