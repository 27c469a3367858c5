"""Makes COUNT subscriptions, each for a type of its own: subscriptions.py GRAPHQL_URL COUNT."""
import json
import sys
import urllib.request

url, count = sys.argv[1], int(sys.argv[2])
query = "mutation($in: SubscriptionInput!) { createSubscription(in: $in) { name } }"
for number in range(count):
    made = {
        "name": f"s-{number}",
        "endpoint": "http://127.0.0.1:9/",
        "eventType": f"type.{number}",
        "filters": [{"prefix": {"subject": f"s/{number}"}}],
    }
    body = json.dumps({"query": query, "variables": {"in": made}}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        errors = json.load(answer).get("errors")
        assert not errors, errors
