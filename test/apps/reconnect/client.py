"""A client of python3-websockets that reconnects by its iterator. Argument: the URL. It prints names as client.js does."""

import asyncio
import sys

import websockets


async def main():
    last = None
    async for socket in websockets.connect(sys.argv[1].replace("http", "ws", 1)):
        try:
            while True:
                await socket.send("name")
                name = await socket.recv()
                if name != last:
                    last = name
                    print(f"name {name}", flush=True)
                await asyncio.sleep(0.2)
        except websockets.ConnectionClosed:
            continue


asyncio.run(main())
