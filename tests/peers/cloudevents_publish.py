"""Publishes COUNT events over HTTP, written by the CloudEvents SDK, and ends when each got a 2xx.

cloudevents_publish.py PORT PREFIX COUNT: every other event is in structured content mode. An event
whose answer did not come is sent again with the same id.
"""
import http.client
import sys
import time

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

port, prefix, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
connection = None
for number in range(count):
    event = CloudEvent(
        attributes={
            "specversion": "1.0",
            "id": f"{prefix}-{number}",
            "source": "/cloudevents-sdk",
            "type": "survives.kill",
            "subject": 'a "quoted" 100% Z\u00fcrich',
            "datacontenttype": "application/json",
        },
        data={"number": number},
    )
    message = to_binary_event(event) if number % 2 else to_structured_event(event)
    while True:
        try:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", "/events", body=message.body, headers=message.headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 503:
                time.sleep(0.05)
                continue
            assert 200 <= answer.status < 300, f"{answer.status}: {text}"
            break
        except (OSError, http.client.HTTPException):
            connection = None
            time.sleep(0.03)
print(f"acknowledged {count}")
