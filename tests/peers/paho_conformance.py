"""Goes through what a broker has to do, with paho, and says of each scenario whether it held.

paho_conformance.py TRANSPORT PORT STRICT_PORT VERSION CA SCENARIO...: TRANSPORT is tcp, tls, ws or
wss; STRICT_PORT is that of a server with narrow limits; CA a file, or - without TLS. Prints `ok NAME`
or `failed NAME: reason` for each; all run at once.
"""
import queue
import sys
import threading
import time
import traceback
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

transport, port, strict_port, version, ca = sys.argv[1:6]
V5 = version == "5"
WAIT_S = 20


def unique(what):
    return what + uuid.uuid4().hex[:12]


def properties(kind, **values):
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Peer:
    """A client whose messages wait in a queue."""

    def __init__(self, name=None, clean=True, to=port, keepalive=60, will=None, manual=False,
                 expiry=0, **connect):
        self.messages, self.ready, self.gone = queue.Queue(), queue.Queue(), queue.Queue()
        self.done, self.granted = queue.Queue(), queue.Queue()
        protocol = mqtt.MQTTv5 if V5 else mqtt.MQTTv311
        more = {} if V5 else {"clean_session": clean}
        self.client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=unique("c") if name is None else name,
            protocol=protocol, transport="websockets" if transport.startswith("ws") else "tcp",
            reconnect_on_failure=False, manual_ack=manual, **more)
        if transport in ("tls", "wss"):
            client.tls_set(ca_certs=ca)
        if transport.startswith("ws"):
            client.ws_set_options(path="/mqtt")
        if will:
            client.will_set(**will)
        client.on_connect = lambda c, u, flags, code, props: self.ready.put((flags, code, props))
        client.on_disconnect = lambda c, u, flags, code, props: self.gone.put(code)
        client.on_message = lambda c, u, message: self.messages.put(message)
        client.on_publish = lambda c, u, mid, code, props: self.done.put(code)
        client.on_subscribe = lambda c, u, mid, codes, props: self.granted.put(codes)
        client.on_unsubscribe = lambda c, u, mid, codes, props: self.granted.put(codes)
        if V5:
            if expiry:
                connect["SessionExpiryInterval"] = expiry
            asked = properties(PacketTypes.CONNECT, **connect)
            client.connect("localhost", int(to), keepalive, clean_start=clean, properties=asked)
        else:
            client.connect("localhost", int(to), keepalive)
        client.loop_start()
        flags, self.code, self.properties = self.ready.get(timeout=WAIT_S)
        self.present = flags.session_present

    def publish(self, topic, payload, qos=1, retain=False, **values):
        props = properties(PacketTypes.PUBLISH, **values) if values else None
        self.client.publish(topic, payload, qos, retain, props)
        return self.done.get(timeout=WAIT_S)

    def subscribe(self, topic, qos=1, identifier=None, **options):
        if V5:
            props = identifier and properties(
                PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier)
            self.client.subscribe(
                topic, options=SubscribeOptions(qos=qos, **options), properties=props)
        else:
            self.client.subscribe(topic, qos)
        return [code.value for code in self.granted.get(timeout=WAIT_S)]

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        return [code.value for code in self.granted.get(timeout=WAIT_S)]

    def message(self):
        return self.messages.get(timeout=WAIT_S)

    def before(self, last):
        """What comes before this payload, which is the last."""
        found = []
        while (message := self.message()).payload != last.encode():
            found.append(message.payload.decode())
        return found

    def end(self):
        self.client.disconnect()
        self.gone.get(timeout=WAIT_S)
        self.client.loop_stop()

    def vanish(self):
        """The connection breaks without DISCONNECT."""
        self.client.loop_stop()
        self.client._sock_close()


def qos():
    topic = unique("t")
    for granted in range(3):
        one = Peer()
        assert one.subscribe(topic, granted) == [granted]
        for published in range(3):
            one.publish(topic, f"{published}", published)
            message = one.message()
            assert (message.payload, message.qos) == (b"%d" % published, min(granted, published))
            assert not message.dup and not message.retain
        one.end()


def retained():
    topic = unique("t")
    one = Peer()
    one.publish(topic, "first", retain=True)
    one.publish(topic, "second", retain=True)
    late = Peer()
    late.subscribe(topic)
    message = late.message()
    assert (message.payload, message.retain) == (b"second", True)
    one.publish(topic, "", retain=True)
    message = late.message()
    assert (message.payload, message.retain) == (b"", False)
    later = Peer()
    later.subscribe(topic)
    one.publish(topic, "end")
    assert later.before("end") == []


def will():
    topic = unique("t")
    watcher = Peer()
    watcher.subscribe(topic, 2)
    Peer(will={"topic": topic, "payload": "agreed", "qos": 1}).end()
    Peer(will={"topic": topic, "payload": "broken", "qos": 2}).vanish()
    message = watcher.message()
    assert (message.payload, message.qos) == (b"broken", 2), message.payload


def resume():
    topic, name = unique("t"), unique("c")
    one = Peer(name, clean=False, expiry=600)
    assert not one.present
    one.subscribe(topic + "/#", 2)
    one.end()
    other = Peer()
    for number in range(50):
        other.publish(f"{topic}/{number % 3}", str(number))
    one = Peer(name, clean=False, expiry=600)
    assert one.present
    other.publish(topic, "end")
    assert one.before("end") == [str(number) for number in range(50)]
    one.end()
    assert not Peer(name).present


def unsubscribe():
    topic = unique("t")
    one = Peer()
    one.subscribe(topic + "/a")
    one.subscribe(topic + "/end")
    one.unsubscribe(topic + "/a")
    one.publish(topic + "/a", "after")
    one.publish(topic + "/end", "end")
    assert one.before("end") == []
    if V5:
        assert one.unsubscribe(topic + "/none") == [0x11]


def wildcards():
    topic = unique("t")
    for filter_, matching in [("#", ["", "/a", "/a/b", "/a/b/c", "/b", "/end"]),
                              ("+", ["/a", "/b", "/end"]), ("+/b", ["/a/b", "/end"]),
                              ("a/#", ["/a", "/a/b", "/a/b/c", "/end"])]:
        one = Peer()
        one.subscribe(f"{topic}/{filter_}")
        one.subscribe(f"{topic}/end")
        for name in ["", "/a", "/a/b", "/a/b/c", "/b"]:
            one.publish(topic + name, name)
        one.publish(topic + "/end", "/end")
        found = one.before("/end") + ["/end"]
        if found != [name for name in matching]:
            raise AssertionError(f"{filter_}: {found}")


def overlapping():
    topic = unique("t")
    one = Peer()
    one.subscribe(topic + "/#", 1, identifier=1)
    one.subscribe(topic + "/a", 2, identifier=2)
    one.publish(topic + "/a", "x", 2)
    # The same QoS, or paho could hand it over before the exchange of the first has ended.
    one.publish(topic + "/a", "end", 2)
    copies = []
    while (message := one.message()).payload != b"end":
        copies.append(message)
    assert max(message.qos for message in copies) == 2 and len(copies) in (1, 2)
    if V5:
        ids = [i for message in copies for i in message.properties.SubscriptionIdentifier]
        assert sorted(ids) == [1, 2], ids


def shared():
    topic = unique("t")
    members = [Peer() for _ in range(3)]
    for member in members:
        member.subscribe(f"$share/{topic}/{topic}/+")
    other = Peer()
    for number in range(30):
        other.publish(f"{topic}/{number}", str(number))
    found, until = [], time.time() + WAIT_S
    while len(found) < 30 and time.time() < until:
        for member in members:
            while not member.messages.empty():
                found.append((member, member.messages.get().payload))
        time.sleep(0.01)
    assert len({payload for _, payload in found}) == len(found) == 30
    for member in members:
        assert sum(who is member for who, _ in found) >= 5


def request_response():
    topic = unique("t")
    one, other = Peer(), Peer()
    other.subscribe(topic + "/ask")
    one.subscribe(topic + "/answer")
    one.publish(topic + "/ask", "?", ResponseTopic=topic + "/answer", CorrelationData=b"\0\xff7")
    asked = other.message()
    other.publish(asked.properties.ResponseTopic, "!",
                  CorrelationData=asked.properties.CorrelationData)
    answer = one.message()
    assert (answer.payload, answer.properties.CorrelationData) == (b"!", b"\0\xff7")


def user_properties():
    topic = unique("t")
    pairs = [("b", "2"), ("a", "1"), ("b", "2"), ("", "caf\u00e9")]
    one = Peer()
    one.subscribe(topic)
    one.publish(topic, "x", UserProperty=pairs, PayloadFormatIndicator=1, ContentType="text/plain")
    found = one.message().properties
    assert found.UserProperty == pairs
    assert (found.PayloadFormatIndicator, found.ContentType) == (1, "text/plain")


def aliases():
    topic = unique("t")
    one, other = Peer(TopicAliasMaximum=5), Peer()
    one.subscribe(topic)
    other.publish(topic, "full", TopicAlias=1)
    other.publish("", "short", TopicAlias=1)
    # What the server sends by alias alone has no topic here: this client leaves that to its user.
    names = {}
    for payload in [b"full", b"short"]:
        message = one.message()
        alias = getattr(message.properties, "TopicAlias", None)
        assert message.payload == payload
        assert alias is None or 1 <= alias <= 5
        name = message.topic or names[alias]
        assert name == topic
        names[alias] = name


def receive_maximum():
    topic = unique("t")
    one, other = Peer(manual=True, ReceiveMaximum=2), Peer()
    one.subscribe(topic)
    for number in range(4):
        other.publish(topic, str(number))
    first, second = one.message(), one.message()
    one.subscribe(topic + "/other")
    assert one.messages.empty()
    one.client.ack(first.mid, first.qos)
    assert one.message().payload == b"2"
    one.client.ack(second.mid, second.qos)
    assert one.message().payload == b"3"


def maximum_packet():
    topic = unique("t")
    one, other = Peer(MaximumPacketSize=200), Peer()
    one.subscribe(topic)
    for payload in ["small", "x" * 300, "end"]:
        other.publish(topic, payload)
    assert one.before("end") == ["small"]


def server_keep_alive():
    assert Peer(to=strict_port, keepalive=60).properties.ServerKeepAlive == 10


def forbidden():
    one = Peer(to=strict_port)
    assert one.subscribe("forbidden/x") == [0x87 if V5 else 0x80]
    topic = unique("t")
    assert one.subscribe(topic) == [1]
    one.publish(topic, "x")
    one.message()


def dollar():
    topic = unique("t")
    one = Peer()
    one.subscribe("#", 0)
    one.subscribe("+/" + topic, 0)
    named, other = Peer(), Peer()
    named.subscribe("$test/" + topic)
    other.publish("$test/" + topic, "dollar")
    other.publish("x/" + topic, topic)
    assert named.message().payload == b"dollar"
    while (message := one.message()).payload != topic.encode():
        assert not message.topic.startswith("$"), message.topic


def redelivery():
    topic, name = unique("t"), unique("c")
    one = Peer(name, clean=False, expiry=600, manual=True)
    one.subscribe(topic)
    other = Peer()
    other.publish(topic, "1")
    other.publish(topic, "2")
    sent = [one.message(), one.message()]
    one.vanish()
    one = Peer(name, clean=False, expiry=600)
    again = [one.message(), one.message()]
    assert [message.payload for message in again] == [b"1", b"2"]
    assert all(message.dup for message in again)
    assert [message.mid for message in again] == [message.mid for message in sent]
    # The answer to this comes behind both acknowledgements.
    one.subscribe(unique("t"))
    one.end()
    assert Peer(name, clean=False, expiry=600).messages.empty()


def session_expiry():
    brief, long = unique("c"), unique("c")
    Peer(brief, expiry=1).end()
    Peer(long, expiry=60).end()
    time.sleep(2.2)
    assert not Peer(brief, clean=False).present
    assert Peer(long, clean=False).present


def will_delay():
    topic, name = unique("t"), unique("c")
    watcher = Peer()
    watcher.subscribe(topic)

    def delayed(who):
        props = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=1)
        return Peer(who, clean=False, expiry=60,
                    will={"topic": topic, "payload": who, "qos": 1, "properties": props})
    delayed(name).vanish()
    Peer(name, clean=False, expiry=60)
    begun, other = time.time(), unique("c")
    delayed(other).vanish()
    assert watcher.message().payload == other.encode(), "the first came back in time"
    assert time.time() - begun > 0.7


def message_expiry():
    topic, name = unique("t"), unique("c")
    one = Peer(name, clean=False, expiry=60)
    one.subscribe(topic)
    one.end()
    other = Peer()
    other.publish(topic, "brief", MessageExpiryInterval=1)
    other.publish(topic, "long", MessageExpiryInterval=60)
    time.sleep(2.2)
    message = Peer(name, clean=False, expiry=60).message()
    assert message.payload == b"long"
    assert 50 <= message.properties.MessageExpiryInterval <= 58


def assigned_id():
    one, other = Peer(""), Peer("")
    ids = {peer.properties.AssignedClientIdentifier for peer in (one, other)}
    assert len(ids) == 2 and all(ids)


def retain_options():
    topic = unique("t")
    one, other = Peer(), Peer()
    other.publish(topic, "kept", retain=True)
    one.subscribe(topic, retainHandling=2, retainAsPublished=True, noLocal=True)
    other.publish(topic, "live", retain=True)
    message = one.message()
    assert (message.payload, message.retain) == (b"live", True)
    one.publish(topic, "own")
    one.subscribe(topic, retainHandling=1)
    one.subscribe(topic, retainHandling=0)
    message = one.message()
    assert (message.payload, message.retain) == (b"live", True)
    other.publish(topic, "end")
    assert one.before("end") == []


def empty_payload():
    topic = unique("t")
    one = Peer()
    one.subscribe(topic, 2)
    for level in range(3):
        one.publish(topic, None, level)
        assert one.message().payload == b""


def empty_client_id():
    assert not Peer("").present
    # This client does not let one ask for a session without a name; it is asked for otherwise.


def keepalive_0():
    one = Peer(keepalive=0)
    time.sleep(2)
    topic = unique("t")
    one.subscribe(topic)
    one.publish(topic, "x")
    one.message()


def takeover():
    name = unique("c")
    one = Peer(name, clean=False, expiry=60)
    other = Peer(name, clean=False, expiry=60)
    assert other.present
    code = one.gone.get(timeout=WAIT_S)
    assert not V5 or code.value == 0x8E, code


def say(line):
    """In one piece, for all threads say something."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(name):
    try:
        globals()[name]()
        say(f"ok {name}")
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[1 if error.__traceback__.tb_next else 0]
        say(f"failed {name}: line {place.lineno}: {error!r}")


threads = [threading.Thread(target=run, args=[name], daemon=True) for name in sys.argv[6:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
