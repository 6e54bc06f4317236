"""A peer made of Debian's python3-websockets, with the words of node.js."""

import asyncio
import base64
import json
import ssl
import sys

import websockets
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import Close

connections = {}  # number → connection; numbers begin at 1, in the order of opening
tasks = set()  # the loop itself holds tasks by weak references only


def tell(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def options(command):
    return {
        "subprotocols": command["subprotocols"] or None,
        "compression": "deflate" if command["deflate"] else None,
        "ping_interval": None,
        "max_size": 1 << 24,
    }


def secure(command, purpose):
    """Returns the context of TLS 1.3, or None: in clear."""
    tls = command.get("tls")
    if not tls:
        return None
    context = ssl.create_default_context(purpose, cafile=tls["ca"] or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if tls["cert"]:
        context.load_cert_chain(tls["cert"], tls["key"])
    return context


def adopt(socket):
    conn = len(connections) + 1
    connections[conn] = socket
    return conn


def opened(socket):
    tls = socket.transport.get_extra_info("ssl_object")
    return {
        "subprotocol": socket.subprotocol or "",
        "extensions": ", ".join(extension.name for extension in socket.extensions),
        "suite": tls.cipher()[0] if tls else "",
        "isResumed": tls.session_reused if tls else False,
    }


async def receive(socket, conn):
    try:
        async for message in socket:
            is_binary = isinstance(message, bytes)
            data = message if is_binary else message.encode()
            tell(event="message", conn=conn, isBinary=is_binary, data=base64.b64encode(data).decode())
    except ConnectionClosed:
        pass  # told below
    await socket.wait_closed()
    tell(event="close", conn=conn, code=socket.close_code, reason=socket.close_reason)


async def serve(command):
    async def handle(socket):
        conn = adopt(socket)
        names = {name.lower() for name, _ in socket.request_headers.raw_items()}
        headers = {name: ", ".join(socket.request_headers.get_all(name)) for name in names}
        tell(event="open", conn=conn, path=socket.path, headers=headers, **opened(socket))
        await receive(socket, conn)

    context = secure(command, ssl.Purpose.CLIENT_AUTH)
    server = await websockets.serve(handle, "127.0.0.1", 0, ssl=context, **options(command))
    tell(event="listening", port=server.sockets[0].getsockname()[1])


async def connect(command):
    try:
        context = secure(command, ssl.Purpose.SERVER_AUTH)
        socket = await websockets.connect(command["url"], extra_headers=command.get("headers"), ssl=context, **options(command))
    except (OSError, WebSocketException) as error:
        conn = adopt(None)
        tell(event="error", conn=conn, message=str(error))
        return
    conn = adopt(socket)
    tell(event="open", conn=conn, **opened(socket))
    await receive(socket, conn)


async def send(command):
    parts = [base64.b64decode(part) for part in command["parts"]]
    if not command["isBinary"]:
        parts = [part.decode() for part in parts]
    await connections[command["conn"]].send(parts[0] if len(parts) == 1 else parts)


async def ping(command):
    pong = await connections[command["conn"]].ping(base64.b64decode(command["data"]))
    await pong
    tell(event="pong", conn=command["conn"], data=command["data"])


async def close(command):
    socket = connections[command["conn"]]
    if command["code"] == 0:
        # close() always sends a code.
        await socket.write_close_frame(Close(1000, ""), b"")
    else:
        await socket.close(command["code"], command["reason"])


def end(task):
    tasks.discard(task)
    if task.exception():
        tell(event="error", message=repr(task.exception()))


async def main():
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    actions = {"serve": serve, "connect": connect, "send": send, "ping": ping, "close": close}
    while line := await lines.readline():
        command = json.loads(line)
        action = actions[command["do"]](command)
        # What waits for the other peer may not hold up the next line; what is sent keeps its order.
        if command["do"] == "send":
            await action
        else:
            task = loop.create_task(action)
            tasks.add(task)
            task.add_done_callback(end)


asyncio.run(main())
