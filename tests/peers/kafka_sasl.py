"""A line to a Kafka broker that lets through only who has logged in by SASL.

kafka_sasl.py PORT BROKER_PORT [ISSUER]

The user `gateway` has the password `s3cret`, for PLAIN and SCRAM. OAUTHBEARER takes the access tokens
(JWT) of ISSUER, and says how long they last (KIP-368): who has not logged in again by then is cut
off. Prints `ready` when it listens.
"""

import asyncio
import json
import struct
import sys
import time
import urllib.request

import scramp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

USER, PASSWORD = "gateway", "s3cret"
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_SASL_MECHANISM, SASL_AUTHENTICATION_FAILED = 33, 58


class Refused(Exception):
    pass


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


class Plain:
    """RFC 4616."""

    def __init__(self, _):
        pass

    def step(self, message):
        _, user, password = message.decode().split("\0")
        if (user, password) != (USER, PASSWORD):
            raise Refused("Invalid username or password")
        return b"", None


class Scram:
    """RFC 5802, by scramp."""

    def __init__(self, mechanism):
        known = scramp.ScramMechanism(mechanism).make_auth_info(PASSWORD, iteration_count=4096)
        self.server = scramp.ScramMechanism(mechanism).make_server({USER: known}.__getitem__)
        self.begun = False

    def step(self, message):
        try:
            if self.begun:
                self.server.set_client_final(message.decode())
                return self.server.get_server_final().encode(), None
            self.begun = True
            self.server.set_client_first(message.decode())
            return self.server.get_server_first().encode(), None
        except (scramp.ScramException, KeyError):
            raise Refused("Invalid username or password") from None

    @property
    def is_done(self):
        return self.server.stage == scramp.core.ServerStage.get_server_final


class Bearer:
    """RFC 7628."""

    def __init__(self, _):
        pass

    def step(self, message):
        fields = message.decode().split("\x01")
        token = next(field for field in fields if field.startswith("auth=Bearer "))
        issuer = sys.argv[3]
        keys = fetch(fetch(f"{issuer}/.well-known/openid-configuration")["jwks_uri"])
        try:
            claims = jwt.decode(token.removeprefix("auth=Bearer "), KeySet.import_key_set(keys)).claims
            wanted = {"essential": True, "value": issuer}
            jwt.JWTClaimsRegistry(iss=wanted, exp={"essential": True}).validate(claims)
        except JoseError as error:
            raise Refused(f"the token is not taken: {error}") from None
        return b"", claims["exp"]


class Connection:
    """A client and its way to the broker."""

    def __init__(self, client, broker):
        self.client, self.broker = client, broker
        self.mechanism = None
        self.is_known, self.ends = False, None

    async def requests(self, reader):
        while True:
            frame = await reader.readexactly(4)
            frame += await reader.readexactly(struct.unpack(">i", frame)[0])
            key, version, number, name = struct.unpack_from(">hhih", frame, 4)
            body = frame[14 + max(name, 0):]
            if key in (SASL_HANDSHAKE, SASL_AUTHENTICATE):
                assert version < 2, "a flexible version"
                take = self.handshake if key == SASL_HANDSHAKE else self.authenticate
                answer = struct.pack(">i", number) + take(body, version)
                self.client.write(struct.pack(">i", len(answer)) + answer)
            elif key == API_VERSIONS or (self.is_known and time.time() < (self.ends or 1e99)):
                self.broker.write(frame)
                await self.broker.drain()
            else:
                return

    def handshake(self, body, _):
        named = body[2:].decode()
        ways = {"PLAIN": Plain, "OAUTHBEARER": Bearer}
        self.mechanism = ways.get(named, Scram)(named) if named in MECHANISMS else None
        error = 0 if self.mechanism else UNSUPPORTED_SASL_MECHANISM
        return struct.pack(">hi", error, len(MECHANISMS)) + b"".join(map(string, MECHANISMS))

    def authenticate(self, body, version):
        lasts_ms = 0
        try:
            said, ends = self.mechanism.step(body[4:])
            self.is_known = getattr(self.mechanism, "is_done", True)
            self.ends = ends
            if ends:
                lasts_ms = int((ends - time.time()) * 1000)
            answer = struct.pack(">hhi", 0, -1, len(said)) + said
        except Refused as refused:
            answer = struct.pack(">h", SASL_AUTHENTICATION_FAILED) + string(str(refused))
            answer += struct.pack(">i", 0)
        return answer + (struct.pack(">q", lasts_ms) if version else b"")

    async def answers(self, reader):
        while True:
            frame = await reader.readexactly(4)
            frame += await reader.readexactly(struct.unpack(">i", frame)[0])
            self.client.write(frame)
            await self.client.drain()


async def serve(reader, writer):
    from_broker, to_broker = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    connection = Connection(writer, to_broker)
    ways = [connection.requests(reader), connection.answers(from_broker)]
    tasks = [asyncio.create_task(way) for way in ways]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    writer.close()
    to_broker.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
