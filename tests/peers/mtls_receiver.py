"""A receiver of events that asks for client certificates: mtls_receiver.py CERTIFICATE KEY AUTHORITY.

Prints `url URL` once it listens, then for each request a line of JSON: the event's id, the common
name in the client's certificate, and the number of the connection.
"""
import itertools
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

certificate, key, authority = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(authority)
context.verify_mode = ssl.CERT_REQUIRED
connections = itertools.count(1)
printing = threading.Lock()


class Hook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.number = next(connections)

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"] or 0))
        subject = {name: value for ((name, value),) in self.connection.getpeercert()["subject"]}
        seen = {"id": self.headers["ce-id"], "name": subject["commonName"], "connection": self.number}
        with printing:
            print(json.dumps(seen), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"url https://localhost:{server.server_port}/hook", flush=True)
server.serve_forever()
