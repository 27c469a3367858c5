"""Two clients of an application that may have two messages under way, and that acknowledge by hand.

paho_inflight.py PORT PASSWORD: ends with 0 if messages came when they should.
"""
import queue
import sys

import paho.mqtt.client as mqtt

port, password = sys.argv[1:3]
WAIT_S, PAUSE_S = 20, 0.5
ROUNDS = 100


class Peer:
    """A client that subscribes to a topic and says when it has received a message."""

    def __init__(self, name, topic=None):
        self.messages, self.ready, self.done = queue.Queue(), queue.Queue(), queue.Queue()
        self.client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5,
            reconnect_on_failure=False, manual_ack=True)
        client.username_pw_set("x", password)
        client.on_connect = lambda *_: self.ready.put(None)
        client.on_subscribe = lambda *_: self.ready.put(None)
        client.on_message = lambda _, __, message: self.messages.put(message)
        client.on_publish = lambda *_: self.done.put(None)
        client.connect("localhost", int(port))
        client.loop_start()
        self.ready.get(timeout=WAIT_S)
        if topic:
            client.subscribe(topic, 1)
            self.ready.get(timeout=WAIT_S)

    def publish(self, topic, payload, qos=1):
        self.client.publish(topic, payload, qos)
        self.done.get(timeout=WAIT_S)

    def gets(self, payload):
        message = self.messages.get(timeout=WAIT_S)
        assert message.payload.decode() == payload, (message.payload, payload)
        return message

    def gets_nothing(self):
        try:
            message = self.messages.get(timeout=PAUSE_S)
        except queue.Empty:
            return
        raise AssertionError(message.payload)

    def acknowledge(self, message):
        self.client.ack(message.mid, message.qos)


publisher, one, two = Peer("publisher"), Peer("one", "a"), Peer("two", "b")
for number in "12":
    publisher.publish("a", "a" + number)
held = [one.gets("a1"), one.gets("a2")]
publisher.publish("a", "at once", qos=0)
one.gets("at once")
for number in "12":
    publisher.publish("b", "b" + number)
first = two.gets("b1")
two.gets_nothing()
one.acknowledge(held[0])
two.gets_nothing()
# The last of three that were under way: the other client's place is free now.
one.acknowledge(held[1])
second = two.gets("b2")
two.acknowledge(first)
two.acknowledge(second)

# Both get everything, though each could use all places.
for number in range(ROUNDS):
    publisher.publish("a", str(number))
    publisher.publish("b", str(number))
for number in range(ROUNDS):
    for peer in (one, two):
        peer.acknowledge(peer.gets(str(number)))

# Who goes leaves its places behind.
for topic in "aabb":
    publisher.publish(topic, "last")
one.gets("last"), one.gets("last"), two.gets("last")
two.gets_nothing()
one.client.disconnect()
two.gets("last")
