"""A peer made of Debian's python3-h2 and python3-wsproto, as a client over HTTP/2 (RFC 8441), with the words of node.js.

All of its connections are streams of one connection.
"""

import base64
import json
import socket
import sys
import threading
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import h2.settings
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

lock = threading.RLock()
windows = threading.Condition(lock)


def tell(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class Stream:
    def __init__(self, number, identifier):
        self.number, self.id = number, identifier
        self.deflate = None
        self.frames = None  # of wsproto, after the answer
        self.parts = []
        self.code, self.reason = 1006, ""
        self.has_ended = False

    def opened(self, fields):
        if fields[b":status"] != b"200":
            tell(event="error", conn=self.number, message="status " + fields[b":status"].decode())
            return
        extensions = fields.get(b"sec-websocket-extensions", b"").decode()
        agreed = []
        if extensions:
            self.deflate.finalize(extensions)
            agreed = [self.deflate]
        self.frames = Connection(ConnectionType.CLIENT, agreed)
        tell(event="open", conn=self.number, subprotocol=fields.get(b"sec-websocket-protocol", b"").decode(), extensions=extensions)

    def received(self, data):
        self.frames.receive_data(data)
        for event in self.frames.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                is_binary = isinstance(event, BytesMessage)
                self.parts.append(bytes(event.data) if is_binary else event.data.encode())
                if event.message_finished:
                    message, self.parts = b"".join(self.parts), []
                    tell(event="message", conn=self.number, isBinary=is_binary, data=base64.b64encode(message).decode())
            elif isinstance(event, Ping):
                tell(event="ping", conn=self.number, data=base64.b64encode(event.payload).decode())
                if self.frames.state.name == "OPEN":
                    peer.send(self, self.frames.send(event.response()))
            elif isinstance(event, Pong):
                tell(event="pong", conn=self.number, data=base64.b64encode(event.payload).decode())
            elif isinstance(event, CloseConnection):
                self.code, self.reason = int(event.code), event.reason or ""
                if self.frames.state.name == "REMOTE_CLOSING":
                    peer.send(self, self.frames.send(event.response()), is_end=True)

    def ended(self):
        if not self.has_ended:
            self.has_ended = True
            tell(event="close", conn=self.number, code=self.code, reason=self.reason)


class Peer:
    def __init__(self):
        self.socket = None
        self.streams = {}  # identifier → Stream
        self.numbers = {}  # number → Stream

    def dial(self, host, port):
        self.socket = socket.create_connection((host, port))
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.http.initiate_connection()
        self.flush()
        settled = threading.Event()
        threading.Thread(target=self.read, args=(settled,), daemon=True).start()
        settled.wait()
        if not self.http.remote_settings.enable_connect_protocol:
            tell(event="error", conn=0, message="no WebSocket over HTTP/2")

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def read(self, settled):
        while data := self.socket.recv(1 << 16):
            with lock:
                for event in self.http.receive_data(data):
                    self.happened(event, settled)
                self.flush()
        with lock:
            for stream in list(self.streams.values()):
                stream.ended()

    def happened(self, event, settled):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RemoteSettingsChanged):
            settled.set()
            windows.notify_all()
        elif isinstance(event, h2.events.ResponseReceived):
            stream.opened(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.data:
                stream.received(event.data)
        elif isinstance(event, h2.events.WindowUpdated):
            windows.notify_all()
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            stream.ended()
            windows.notify_all()

    def send(self, stream, data, is_end=False):
        """Queues data; what the windows don't take waits in a thread of its own if it comes from the reader."""
        if threading.current_thread().daemon:
            threading.Thread(target=self.write, args=(stream, data, is_end)).start()
        else:
            self.write(stream, data, is_end)

    def write(self, stream, data, is_end):
        with lock:
            while data and not stream.has_ended:
                n = min(len(data), self.http.local_flow_control_window(stream.id), self.http.max_outbound_frame_size)
                if n == 0:
                    windows.wait()
                    continue
                self.http.send_data(stream.id, data[:n])
                data = data[n:]
                self.flush()
            if is_end and not stream.has_ended:
                self.http.end_stream(stream.id)
                self.flush()

    def connect(self, command):
        url = urlsplit(command["url"])
        if self.socket is None:
            self.dial(url.hostname, url.port)
        with lock:
            stream = Stream(len(self.numbers) + 1, self.http.get_next_available_stream_id())
            self.streams[stream.id] = self.numbers[stream.number] = stream
            path = url.path + ("?" + url.query if url.query else "")
            fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", url.netloc), (":path", path),
                      ("sec-websocket-version", "13")]
            if command["subprotocols"]:
                fields.append(("sec-websocket-protocol", ", ".join(command["subprotocols"])))
            if command["deflate"]:
                stream.deflate = PerMessageDeflate()
                fields.append(("sec-websocket-extensions", "permessage-deflate; " + str(stream.deflate.offer())))
            self.http.send_headers(stream.id, fields)
            self.flush()

    def frames(self, command):
        stream = self.numbers[command["conn"]]
        return stream, stream.frames

    def do(self, command):
        if command["do"] == "connect":
            self.connect(command)
            return
        stream, frames = self.frames(command)
        if command["do"] == "send":
            parts = [base64.b64decode(part) for part in command["parts"]]
            for i, part in enumerate(parts):
                is_last = i == len(parts) - 1
                if command["isBinary"]:
                    message = BytesMessage(data=part, message_finished=is_last)
                else:
                    message = TextMessage(data=part.decode(), message_finished=is_last)
                with lock:
                    data = frames.send(message)
                self.send(stream, data)
        elif command["do"] == "ping":
            self.send(stream, frames.send(Ping(payload=base64.b64decode(command["data"]))))
        elif command["do"] == "close":
            code = command["code"] or 1005
            self.send(stream, frames.send(CloseConnection(code=code, reason=command["reason"] or None)))


peer = Peer()
for line in sys.stdin:
    peer.do(json.loads(line))
