"""Publishes once with paho under a token as the password, and says how the connection ended.

paho_lifetime.py PORT VERSION: VERSION is 5 or 311; the token comes on standard input. Prints
`acknowledged`, and `ended CODE` with the reason code of the end (3.1.1 has none: `ended none`); or
`refused CODE` when it is not let in, where paho gives the codes of 3.1.1 their names in 5.
"""
import sys
import threading

import paho.mqtt.client as mqtt

port, version = int(sys.argv[1]), sys.argv[2]
token = sys.stdin.read().strip()
protocol = mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311

client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id=f"paho-{version}",
    protocol=protocol,
    reconnect_on_failure=False,
)
client.username_pw_set("token", token)
client.will_set("lost/paho", version, qos=1)
over = threading.Event()


def on_connect(_client, _userdata, _flags, reason_code, _properties):
    if reason_code.is_failure:
        print(f"refused {reason_code.value}")
        over.set()
    else:
        client.publish("tokens/paho", version, qos=1)


def on_publish(_client, _userdata, _mid, _reason_code, _properties):
    print("acknowledged", flush=True)


def on_disconnect(_client, _userdata, flags, reason_code, _properties):
    if over.is_set():
        return
    told = flags.is_disconnect_packet_from_server
    print(f"ended {reason_code.value if told else 'none'}")
    over.set()


client.on_connect, client.on_publish, client.on_disconnect = on_connect, on_publish, on_disconnect
client.connect("127.0.0.1", port, keepalive=30)
client.loop_start()
assert over.wait(timeout=60), "the connection did not end"
