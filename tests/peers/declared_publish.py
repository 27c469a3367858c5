"""Publishes one payload in every way: declared_publish.py HTTP_PORT MQTT_PORT PAYLOAD

Prints a JSON object with what came back by way: the HTTP answers with status, headers and body, of
MQTT 5 the reason code, the reason and the user properties, of MQTT 3.1.1 whether it was acknowledged
before the connection was closed. PAYLOAD is the JSON text of an order.
"""
import json
import sys
import threading
import urllib.error
import urllib.request
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

http_port, mqtt_port, payload = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def post(path, content_type, body):
    request = urllib.request.Request(f"http://127.0.0.1:{http_port}{path}", body.encode())
    request.add_header("content-type", content_type)
    try:
        answer = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return {"status": answer.status, "headers": headers, "body": json.loads(answer.read())}


def structured():
    event = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/shop"}
    event |= {"type": "order.placed", "datacontenttype": "application/json"}
    return json.dumps(event)[:-1] + f', "data": {payload}}}'


def publish(protocol, topic, content):
    done = threading.Event()
    told = {"acknowledged": False}

    def on_publish(_client, _userdata, _mid, reason, properties):
        told["acknowledged"] = True
        if protocol == mqtt.MQTTv5:
            told["code"] = reason.value
            told["reason"] = getattr(properties, "ReasonString", "")
            told["properties"] = dict(getattr(properties, "UserProperty", []))
        done.set()

    def on_connect(client, _userdata, _flags, reason, _properties):
        assert not reason.is_failure, reason
        properties = None
        if protocol == mqtt.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = content
        body = structured() if content == "application/cloudevents+json" else payload
        client.publish(topic, body, qos=1, properties=properties)

    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=f"till-{protocol}", protocol=protocol
    )
    client.on_connect, client.on_publish = on_connect, on_publish
    client.on_disconnect = lambda *_: done.set()
    client.connect("127.0.0.1", mqtt_port)
    client.loop_start()
    assert done.wait(20), "neither acknowledged nor closed"
    client.on_disconnect = None
    client.disconnect()
    client.loop_stop()
    return told


JSON, EVENT = "application/json", "application/cloudevents+json"
kyma = {"event-type": "order.placed", "event-type-version": "v1"}
kyma["event-time"] = "2024-05-01T10:00:00Z"
answers = {
    "structured": post("/events", EVENT, structured()),
    "batch": post("/events", "application/cloudevents-batch+json", f"[{structured()}]"),
    "kyma": post("/shop/v1/events", JSON, json.dumps(kyma)[:-1] + f', "data": {payload}}}'),
    "raw": post("/shop/channels/orders/eu/placed", JSON, payload),
    "mqtt5": publish(mqtt.MQTTv5, "orders/eu/placed", JSON),
    "mqtt5-structured": publish(mqtt.MQTTv5, "anything", EVENT),
    "mqtt311": publish(mqtt.MQTTv311, "orders/eu/placed", JSON),
}
print(json.dumps(answers))
