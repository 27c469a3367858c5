"""Addresses of an AMQP 1.0 broker as its users see them.

amqp10_bus.py PORT read ADDRESS COUNT        prints COUNT messages, one JSON object a line
amqp10_bus.py PORT publish ADDRESS MESSAGE   publishes a JSON object, and waits until it is settled
"""

import base64
import json
import sys

from proton import Message
from proton.utils import BlockingConnection


def shown(message):
    return {
        "headers": message.properties or {},
        "contentType": message.content_type,
        "messageId": message.id,
        "createdAt": message.creation_time,
        "durable": message.durable,
        "body": base64.b64encode(bytes(message.body or b"")).decode(),
    }


def read(connection, address, count):
    receiver = connection.create_receiver(address, credit=100)
    for _ in range(int(count)):
        message = receiver.receive(timeout=30)
        print(json.dumps(shown(message)), flush=True)
        receiver.accept()


def publish(connection, address, message):
    said = json.loads(message)
    sent = Message(body=base64.b64decode(said["body"]), durable=True, inferred=True)
    sent.properties = said.get("headers")
    sent.content_type = said.get("contentType")
    sent.id = said.get("messageId")
    connection.create_sender(address).send(sent)


port, verb, *arguments = sys.argv[1:]
connection = BlockingConnection(f"amqp://127.0.0.1:{port}", timeout=30)
{"read": read, "publish": publish}[verb](connection, *arguments)
connection.close()
