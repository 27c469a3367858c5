"""Publishes to a topic of an MQTT broker, until the broker has acknowledged everything.

mqtt_bus_publish.py PORT VERSION one MESSAGE           one message: topic, headers, body (base64)
mqtt_bus_publish.py PORT VERSION many TOPIC-FROM-COUNT events with ids from FROM, ten keys in turn
"""

import base64
import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, version, verb, argument = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
is_new = version == "5"


def properties_of(headers):
    if not is_new:
        return None
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [(n, v) for n, v in headers.items() if n != "content-type"]
    if "content-type" in headers:
        properties.ContentType = headers["content-type"]
    return properties


def messages():
    if verb == "one":
        message = json.loads(argument)
        yield message["topic"], base64.b64decode(message["body"]), message["headers"]
        return
    topic, first, count = argument.split("-")
    for number in range(int(first), int(first) + int(count)):
        headers = {"specversion": "1.0", "id": str(number), "source": "/lamps", "type": "lamp.lit",
                   "partitionkey": str(number % 10), "content-type": "application/json"}
        yield topic, json.dumps({"number": number}).encode(), headers


protocol = mqtt.MQTTv5 if is_new else mqtt.MQTTv311
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="writer", protocol=protocol)
client.max_queued_messages_set(0)
client.max_inflight_messages_set(100)
client.reconnect_delay_set(0.05, 0.5)
client.connect("127.0.0.1", port)
client.loop_start()
sent = [client.publish(topic, body, qos=1, properties=properties_of(headers))
        for topic, body, headers in messages()]
for one in sent:
    one.wait_for_publish()
client.disconnect()
client.loop_stop()
