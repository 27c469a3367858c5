"""Serves the files of a directory to those who say the right name and password.

document_server.py DIRECTORY NAME PASSWORD: without a name, everybody may read. Says `url URL`, and
then a line of JSON for each request: its path, and whether it had credentials. What is asked for
below /elsewhere/ is found at the path, or the URL, behind that.
"""
import base64
import functools
import http.server
import json
import sys

directory, name, password = sys.argv[1:4]
expected = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        given = self.headers.get("authorization")
        print(json.dumps({"path": self.path, "credentials": given is not None}), flush=True)
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            place = self.path.removeprefix("/elsewhere")
            self.send_header("location", place.removeprefix("/") if "://" in place else place)
            self.send_header("content-length", "0")
            self.end_headers()
        elif name and given != expected:
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


handler = functools.partial(Handler, directory=directory)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(f"url http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
