"""Subscribes with paho in a session that outlives its connections, and prints what comes.

paho_subscribe.py PORT VERSION CLIENT_ID QOS FILTER...: VERSION is 5 or 311. Prints `subscribed`, and then
the payload of each message on a line of its own. Broken connections are made again; one that finds no
session prints `lost`.
"""
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, version, client_id, qos = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
filters = [(text, qos) for text in sys.argv[5:]]
options = {"protocol": mqtt.MQTTv5} if version == "5" else {"clean_session": False}
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, **options)
client.reconnect_delay_set(min_delay=0.02, max_delay=0.05)
seen = {"subscribed": False}


def on_connect(_client, _userdata, flags, reason_code, _properties):
    if reason_code.is_failure:
        return
    if not seen["subscribed"]:
        client.subscribe(filters)
    elif not flags.session_present:
        print("lost", flush=True)


def on_subscribe(_client, _userdata, _mid, reason_codes, _properties):
    assert not any(code.is_failure for code in reason_codes), reason_codes
    seen["subscribed"] = True
    print("subscribed", flush=True)


client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = lambda _client, _userdata, message: print(message.payload.decode(), flush=True)
connect = {"keepalive": 30}
if version == "5":
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 3600
    connect.update(clean_start=False, properties=session)
while True:
    try:
        client.connect("127.0.0.1", port, **connect)
        break
    except OSError:
        time.sleep(0.05)
client.loop_forever(retry_first_connection=True)
