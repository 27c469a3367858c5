"""Registers an application with its event definition as any client of GraphQL would, and publishes.

register_event_api.py ADMIN_URL RECEIVER_URL: reads the schema by introspection, checks every
document against it, registers, subscribes a receiver, and posts an event to the URL that the API
hands over. Prints what it was told as JSON.
"""
import json
import sys

import requests
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.requests import RequestsHTTPTransport

admin, receiver = sys.argv[1], sys.argv[2]
SPEC = """asyncapi: 2.6.0
info: {title: Orders, version: 1.0.0}
channels:
  orders/placed:
    publish: {message: {name: order.placed, payload: {type: object}}}
"""

transport = RequestsHTTPTransport(url=f"{admin}/graphql")
with Client(transport=transport, fetch_schema_from_transport=True) as client:
    def ask(text, **variables):
        query = gql(text)
        query.variable_values = variables
        return client.execute(query)

    created = ask("""mutation($in: ApplicationInput!) { createApplication(in: $in) {
        id eventingConfiguration { defaultURL } } }""", **{"in": {"name": "shop"}})
    application = created["createApplication"]
    added = ask("""mutation($app: ID!, $in: EventAPIDefinitionInput!) {
        addEventAPI(applicationID: $app, in: $in) { id group spec { data type format }
            externalSubscriptions { url topic attributes } version { value } } }""",
        app=application["id"], **{"in": {
            "spec": {"data": SPEC, "eventSpecType": "ASYNC_API"}, "group": "orders",
            "externalSubscriptions": [{"url": f"{receiver}/bus", "topic": "orders/placed",
                                       "attributes": {"contentMode": "STRUCTURED"}}],
            "version": {"value": "1.0.0"}}})
    definition = added["addEventAPI"]
    assert definition["spec"] == {"data": SPEC, "type": "ASYNC_API", "format": "YAML"}, definition
    ask("mutation($in: SubscriptionInput!) { createSubscription(in: $in) { name } }",
        **{"in": {"name": "lambda", "endpoint": f"{receiver}/lambda", "source": "shop",
                  "eventType": "order.placed", "contentMode": "KYMA"}})
    try:
        ask("mutation($id: ID!) { deleteEventAPI(id: $id) { id } }", id="none")
        raise AssertionError("nothing cannot be deleted")
    except TransportQueryError as error:
        codes = error.errors[0]["extensions"]
        assert (codes["error"], codes["error_code"]) == ("NotFound", 20), codes
    pages = ask("""query { applications(first: 1) { data { name eventAPIs(group: "orders") {
        data { id } pageInfo { hasNextPage } totalCount } } totalCount } }""")
    assert pages["applications"]["data"][0]["eventAPIs"]["data"] == [{"id": definition["id"]}]

event = {"event-type": "order.placed", "event-type-version": "v1",
         "event-time": "2026-01-02T03:04:05Z", "data": {"order": 1}}
for kind in ["order.placed", "order.dropped"]:
    url = application["eventingConfiguration"]["defaultURL"]
    answer = requests.post(url, json={**event, "event-type": kind}, timeout=30)
    assert answer.status_code == 200, answer.text
    if kind == "order.placed":
        published = answer.json()
print(json.dumps({"definition": definition["id"], "published": published}))
