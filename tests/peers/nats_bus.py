"""A NATS stream as its users see it.

nats_bus.py PORT stream NAME SUBJECT...    makes a stream
nats_bus.py PORT read NAME COUNT           prints COUNT messages, one JSON object a line
"""

import asyncio
import base64
import json
import sys

import nats


async def main(port, verb, name, *arguments):
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = client.jetstream()
    if verb == "stream":
        await stream.add_stream(name=name, subjects=arguments)
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
