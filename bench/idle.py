"""Opens COUNT idle MQTT connections and keeps them until it is ended: idle.py PORT COUNT."""
import resource
import signal
import socket
import sys

port, count = int(sys.argv[1]), int(sys.argv[2])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, count + 100), most))
connections = []
for number in range(count):
    client_id = f"idle-{number}".encode()
    body = b"\x00\x04MQTT\x05\x02\x00\x00\x00" + len(client_id).to_bytes(2, "big") + client_id
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"\x10" + bytes([len(body)]) + body)
    connections.append(connection)
for connection in connections:
    connack = connection.recv(64)
    assert connack[0] == 0x20 and connack[3] == 0, connack
print("open", flush=True)
signal.pause()
