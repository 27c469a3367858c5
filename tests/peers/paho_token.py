"""Publishes one message with paho, with a token as the password.

paho_token.py PORT USER: the token comes on the standard input; prints `acknowledged CODE`, or
`refused CODE` when the connection is.
"""
import sys

import paho.mqtt.client as mqtt

port, user = int(sys.argv[1]), sys.argv[2]
token = sys.stdin.readline().strip()

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho", protocol=mqtt.MQTTv5)
client.username_pw_set(user, token)


def on_connect(client, _userdata, _flags, reason_code, _properties):
    if reason_code.is_failure:
        print(f"refused {reason_code.value}")
        client.disconnect()
    else:
        client.publish("plant/press", "1", qos=1)


def on_publish(client, _userdata, _mid, reason_code, _properties):
    print(f"acknowledged {reason_code.value}")
    client.disconnect()


client.on_connect = on_connect
client.on_publish = on_publish
client.connect("127.0.0.1", port, keepalive=30)
client.loop_forever(retry_first_connection=False)
