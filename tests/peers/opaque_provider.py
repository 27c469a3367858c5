"""A second OpenID provider (Canaille, as pytest-iam runs it), whose tokens are opaque.

Prints `issuer URL`, then the opaque token of each further line of the standard input: a client that
gets a token for itself by client credentials, or the name of a user that gets one.
"""
import base64
import json
import os
import sys
import threading
import urllib.request
import uuid

import portpicker
from canaille import create_app
from canaille.backends import Backend
from joserfc.jwk import JWKRegistry
from pytest_iam import Server

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
CLIENT, SECRET = "event-gateway", "event-gateway-secret"

port = portpicker.pick_unused_port()
key = JWKRegistry.generate_key("RSA", 2048)
key.ensure_kid()
quiet = {"version": 1, "handlers": {"none": {"class": "logging.NullHandler"}}}
app = create_app(
    config={
        "TESTING": True,
        "ENV_FILE": None,
        "SECRET_KEY": str(uuid.uuid4()),
        "WTF_CSRF_ENABLED": False,
        "PREFERRED_URL_SCHEME": "http",
        "SERVER_NAME": f"localhost:{port}",
        "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False, "LOGGING": quiet},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
    }
)
server = Server(app, port, Backend.instance)
threading.Thread(target=server.httpd.serve_forever, daemon=True).start()
with app.app_context():
    client = server.models.Client(
        client_id=CLIENT,
        client_secret=SECRET,
        client_name=CLIENT,
        grant_types=["client_credentials"],
        scope=["openid"],
        token_endpoint_auth_method="client_secret_basic",
    )
    server.backend.save(client)
    client.audience = [client]
    server.backend.save(client)

with urllib.request.urlopen(f"{server.url}.well-known/openid-configuration") as answer:
    metadata = json.load(answer)
print("issuer", metadata["issuer"], flush=True)

for line in sys.stdin:
    name = line.strip()
    if name == CLIENT:
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        request = urllib.request.Request(
            metadata["token_endpoint"],
            b"grant_type=client_credentials&scope=openid",
            {"authorization": f"Basic {basic}"},
        )
        with urllib.request.urlopen(request) as answer:
            print(json.load(answer)["access_token"], flush=True)
    else:
        user = server.random_user(user_name=name)
        print(server.random_token(user, client).access_token, flush=True)
