"""A topic of an MQTT broker as its subscribers see it, in a session that outlives the connection.

mqtt_bus.py PORT VERSION TOPIC COUNT       prints "ready", then COUNT messages, one JSON object a line
"""

import base64
import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, version, topic, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
is_new = version == "5"
left = count


def subscribed(client, *_):
    print("ready", flush=True)


def connected(client, *_):
    client.subscribe(topic, qos=2)


def received(client, _, message):
    global left
    properties = getattr(message, "properties", None)
    headers = dict(getattr(properties, "UserProperty", []))
    if hasattr(properties, "ContentType"):
        headers["content-type"] = properties.ContentType
    body = base64.b64encode(message.payload).decode()
    print(json.dumps({"topic": message.topic, "headers": headers, "body": body}), flush=True)
    left -= 1
    if left == 0:
        client.disconnect()


protocol = mqtt.MQTTv5 if is_new else mqtt.MQTTv311
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="reader", protocol=protocol,
                     **({} if is_new else {"clean_session": False}))
client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, received
client.reconnect_delay_set(0.05, 0.5)
if is_new:
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 3600
    # However slow this reader is, a broker sends no more ahead, and what it answers comes soon.
    session.ReceiveMaximum = 100
    client.connect("127.0.0.1", port, keepalive=600, clean_start=False, properties=session)
else:
    client.connect("127.0.0.1", port, keepalive=600)
client.loop_forever(retry_first_connection=True)
