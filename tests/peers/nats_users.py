"""Users of a NATS server that are known by a key.

nats_users.py DIRECTORY   writes user.nkey and stranger.nkey, seeds, of which nkey.conf lets in the user; and user.creds
                          and stranger.creds, of which operator.conf does, who has them from its operator
"""

import base64
import json
import os
import pathlib
import sys
import time

import nkeys


class Key:
    """A pair of keys; what it signs says so."""

    def __init__(self, prefix):
        self.seed = nkeys.encode_seed(os.urandom(32), prefix)
        self.pair = nkeys.from_seed(bytearray(self.seed))
        self.name = self.pair.public_key.decode()

    def token(self, subject, kind, **claims):
        """A JSON Web Token of NATS (ADR-14), version 2."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"jti": os.urandom(16).hex(), "iat": int(time.time()), "iss": self.name, "name": kind,
                "sub": subject.name, "nats": {"type": kind, "version": 2, **claims}}
        parts = [text(json.dumps(part).encode()) for part in (head, body)]
        return ".".join([*parts, text(self.pair.sign(".".join(parts).encode()))])


def text(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def credentials(account, user):
    token = account.token(user, "user", subs=-1, data=-1, payload=-1)
    return (f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n")


def main(directory):
    directory = pathlib.Path(directory)
    operator = Key(nkeys.PREFIX_BYTE_OPERATOR)
    account, system, foreign = (Key(nkeys.PREFIX_BYTE_ACCOUNT) for _ in range(3))
    for name, issuer in (("user", account), ("stranger", foreign)):
        user = Key(nkeys.PREFIX_BYTE_USER)
        (directory / f"{name}.nkey").write_text(f"{user.seed.decode()}\n")
        (directory / f"{name}.creds").write_text(credentials(issuer, user))
        if name == "user":
            (directory / "nkey.conf").write_text(f"authorization {{ users: [{{ nkey: {user.name} }}] }}\n")
    unlimited = dict.fromkeys(["subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage",
                               "disk_storage", "streams", "consumer"], -1)
    accounts = {key.name: operator.token(key, "account", limits=limits)
                for key, limits in ((account, unlimited), (system, {"conn": -1, "subs": -1}))}
    preload = "".join(f"  {name}: {token}\n" for name, token in accounts.items())
    (directory / "operator.conf").write_text(
        f"operator: {operator.token(operator, 'operator')}\nsystem_account: {system.name}\n"
        f"resolver: MEMORY\nresolver_preload: {{\n{preload}}}\n")


main(*sys.argv[1:])
