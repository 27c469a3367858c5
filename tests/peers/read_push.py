"""Reads a pushed request with the CloudEvents SDK and verifies it with the Standard Webhooks library.

read_push.py JSON: an object with headers, body and secret; prints what was read as JSON.
"""
import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks.webhooks import Webhook

request = json.loads(sys.argv[1])
headers, body = request["headers"], request["body"].encode()
Webhook(request["secret"]).verify(body.decode(), headers)
event = from_http_event(HTTPMessage(headers=headers, body=body))
data = event.get_data()
if isinstance(data, (bytes, str)):
    data = json.loads(data)
attributes = {name: str(value) for name, value in event.get_attributes().items()}
print(json.dumps({"verified": True, "attributes": attributes, "data": data}))
