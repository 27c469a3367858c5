"""Connects with paho and presents nothing.

paho_anonymous.py PORT [--cafile FILE | --ws [ORIGIN]]: over TCP, TLS or WebSocket, there perhaps for a
page of ORIGIN. Prints `connected`, or `refused CODE`.
"""
import sys
import threading

import paho.mqtt.client as mqtt

port, options = int(sys.argv[1]), sys.argv[2:]
websocket = "--ws" in options
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id="nobody",
    protocol=mqtt.MQTTv5,
    transport="websockets" if websocket else "tcp",
    reconnect_on_failure=False,
)
if websocket:
    headers = {"Origin": options[1]} if len(options) > 1 else None
    client.ws_set_options(path="/mqtt", headers=headers)
elif options:
    client.tls_set(ca_certs=options[1])
over = threading.Event()


def on_connect(_client, _userdata, _flags, reason_code, _properties):
    print(f"refused {reason_code.value}" if reason_code.is_failure else "connected", flush=True)
    over.set()


client.on_connect = on_connect
client.connect("localhost", port)
client.loop_start()
assert over.wait(timeout=30), "there was no answer"
