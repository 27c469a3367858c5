"""Publishes COUNT messages with paho over MQTT 5 and ends when all are acknowledged.

paho_publish.py PORT CLIENT_ID QOS COUNT: each is a CloudEvent in binary content mode with an id of
its own. Broken connections are made again, with the same session. (After two attempts to connect
the client publishes again what it had only to release, so it is the id that makes QoS 2 count
once here.)
"""
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, client_id, qos, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
client.reconnect_delay_set(min_delay=0.02, max_delay=0.05)
client.max_inflight_messages_set(20)
refused = []
under_way = threading.Semaphore(40)


def on_publish(_client, _userdata, _mid, reason_code, _properties):
    if reason_code.is_failure:
        refused.append(str(reason_code))
    under_way.release()


client.on_publish = on_publish
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 3600
while True:
    try:
        client.connect("127.0.0.1", port, keepalive=30, clean_start=False, properties=session)
        break
    except OSError:
        time.sleep(0.05)
client.loop_start()

for number in range(count):
    name = f"{client_id}-{number}"
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.UserProperty = [
        ("specversion", "1.0"), ("id", name), ("source", "/paho"), ("type", "survives.kill")
    ]
    assert under_way.acquire(timeout=120), f"{name} waits for acknowledgements before it"
    # What is published while there is no connection is sent on the next one.
    client.publish(f"survives/{client_id}", name, qos=qos, properties=properties)
for _ in range(40):
    assert under_way.acquire(timeout=120), "the last messages were not acknowledged"
assert not refused, f"refused: {refused[:3]}"
client.disconnect()
client.loop_stop()
print(f"acknowledged {count}")
