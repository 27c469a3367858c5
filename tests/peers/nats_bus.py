"""A NATS stream as its users see it.

nats_bus.py PORT stream NAME SUBJECT...    makes a stream
nats_bus.py PORT read NAME COUNT           prints COUNT messages, one JSON object a line
nats_bus.py PORT publish MESSAGE -         publishes one message, the same JSON object
nats_bus.py PORT many SUBJECT FIRST-COUNT  publishes COUNT events with ids from FIRST, ten keys in turn

NATS_NKEY names the file of a seed, NATS_CREDS a credentials file, to log in with.
"""

import asyncio
import base64
import json
import os
import sys

import nats


def numbered(number):
    """An event in binary content mode."""
    attributes = {"specversion": "1.0", "id": str(number), "source": "/lamps", "type": "lamp.lit",
                  "partitionkey": str(number % 10), "datacontenttype": "application/json"}
    body = json.dumps({"number": number}).encode()
    return body, {f"ce-{name}": value for name, value in attributes.items()}


async def until_acknowledged(stream, subject, body, headers):
    while True:
        try:
            return await stream.publish(subject, body, headers=headers, timeout=2)
        except (nats.errors.Error, OSError):
            await asyncio.sleep(0.1)


async def main(port, verb, name, *arguments):
    client = await nats.connect(f"nats://127.0.0.1:{port}", reconnect_time_wait=0.1,
                                max_reconnect_attempts=-1, nkeys_seed=os.environ.get("NATS_NKEY"),
                                user_credentials=os.environ.get("NATS_CREDS"))
    stream = client.jetstream()
    if verb == "stream":
        await stream.add_stream(name=name, subjects=arguments)
    elif verb == "publish":
        message = json.loads(name)
        body = base64.b64decode(message["body"])
        await stream.publish(message["topic"], body, headers=message["headers"])
    elif verb == "many":
        first, count = (int(part) for part in arguments[0].split("-"))
        for start in range(first, first + count, 10):
            # Each key has its message acknowledged before its next one is sent.
            events = [numbered(number) for number in range(start, start + 10)]
            await asyncio.gather(*(until_acknowledged(stream, name, *event) for event in events))
    else:
        messages = await stream.pull_subscribe("", stream=name)
        left = int(arguments[0])
        while left:
            for message in await messages.fetch(min(left, 500), timeout=20):
                body = base64.b64encode(message.data).decode()
                shown = {"topic": message.subject, "headers": message.headers or {}, "body": body}
                print(json.dumps(shown), flush=True)
                await message.ack()
                left -= 1
    await client.close()


asyncio.run(main(*sys.argv[1:]))
