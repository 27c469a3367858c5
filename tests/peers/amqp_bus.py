"""Queues of an AMQP 0.9.1 broker as its users see them.

amqp_bus.py PORT queue NAME [EXCHANGE [KEY]] makes a durable queue, and binds it to a topic exchange
amqp_bus.py PORT read NAME COUNT             prints COUNT messages, one JSON object a line
amqp_bus.py PORT hold NAME COUNT             takes COUNT messages, says "ready", and acknowledges none
amqp_bus.py PORT publish NAME MESSAGE        publishes a JSON object, confirmed
amqp_bus.py PORT fill NAME FIRST COUNT       publishes COUNT events with numbers from FIRST, confirmed
amqp_bus.py PORT count NAME                  prints how many messages wait
"""

import base64
import json
import sys

import pika


def declare(channel, queue, exchange=None, key=None):
    channel.queue_declare(queue, durable=True)
    if exchange:
        channel.exchange_declare(exchange, exchange_type="topic", durable=True)
    if key:
        channel.queue_bind(queue, exchange, key)


def shown(method, properties, body):
    return {
        "topic": method.routing_key,
        "exchange": method.exchange,
        "headers": properties.headers or {},
        "contentType": properties.content_type,
        "messageId": properties.message_id,
        "timestamp": properties.timestamp,
        "deliveryMode": properties.delivery_mode,
        "body": base64.b64encode(body).decode(),
    }


def read(channel, queue, count):
    left = int(count)
    channel.basic_qos(prefetch_count=500)
    for method, properties, body in channel.consume(queue, inactivity_timeout=30):
        if method is None:
            sys.exit("nothing more comes")
        # What came over AMQP 1.0 has parts of it in headers, as bytes.
        text = json.dumps(shown(method, properties, body), default=lambda part: part.hex())
        print(text, flush=True)
        left -= 1
        if left == 0 or left % 100 == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if left == 0:
            return


def hold(channel, queue, count):
    channel.basic_qos(prefetch_count=int(count))
    for number, _ in enumerate(channel.consume(queue), 1):
        if number == int(count):
            print("ready", flush=True)


def publish(channel, queue, message):
    said = json.loads(message)
    properties = pika.BasicProperties(
        headers=said.get("headers"), content_type=said.get("contentType"),
        message_id=said.get("messageId"), delivery_mode=2)
    channel.confirm_delivery()
    channel.basic_publish("", queue, base64.b64decode(said["body"]), properties, mandatory=True)


def fill(channel, queue, first, count):
    channel.tx_select()
    for number in range(int(first), int(first) + int(count)):
        event = {"specversion": "1.0", "id": str(number), "source": "/lamps", "type": "lamp.lit"}
        media_type = "application/cloudevents+json"
        properties = pika.BasicProperties(content_type=media_type, delivery_mode=2)
        channel.basic_publish("", queue, json.dumps(event).encode(), properties, mandatory=True)
    channel.tx_commit()


def count(channel, queue):
    print(channel.queue_declare(queue, passive=True).method.message_count)


port, verb, *arguments = sys.argv[1:]
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(port)))
verbs = {"queue": declare, "read": read, "hold": hold, "publish": publish, "fill": fill, "count": count}
verbs[verb](connection.channel(), *arguments)
connection.close()
