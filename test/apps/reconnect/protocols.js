// The servers' side of protocols whose servers are not of npm: as much of each as its client needs to come up and to be told a name.
// Each is called with a connection, what sends a text, the event of a text, the name, and what repeats until the connection closes.

export const protocols = {
  subprotocols: { actioncable: "actioncable-v1-json", wamp: "wamp.2.json", stomp: "v12.stomp" },

  // Any text is answered.
  plain(socket, send, event, name) {
    socket.on(event, () => send(name));
  },

  phoenix(socket, send, event, name, repeat) {
    socket.on(event, (data) => {
      const [join, ref, topic, what] = JSON.parse(data);
      send(JSON.stringify([join, ref, topic, "phx_reply", { status: "ok", response: {} }]));
      if (what === "phx_join") repeat(() => send(JSON.stringify([join, null, topic, "name", { name }])), socket);
    });
  },

  actioncable(socket, send, event, name, repeat) {
    send(JSON.stringify({ type: "welcome" }));
    const beat = setInterval(() => send(JSON.stringify({ type: "ping", message: Math.floor(Date.now() / 1000) })), 3000);
    socket.on("close", () => clearInterval(beat));
    socket.on(event, (data) => {
      const { command, identifier } = JSON.parse(data);
      if (command !== "subscribe") return;
      send(JSON.stringify({ identifier, type: "confirm_subscription" }));
      repeat(() => send(JSON.stringify({ identifier, message: name })), socket);
    });
  },

  signalr(socket, send, event, name, repeat) {
    socket.once(event, () => {
      send("{}\x1e");
      repeat(() => send(`${JSON.stringify({ type: 1, target: "name", arguments: [name] })}\x1e`), socket);
    });
  },

  centrifuge(socket, send, event, name) {
    socket.on(event, (data) => {
      for (const line of data.toString().split("\n")) {
        const command = JSON.parse(line);
        if (command.connect) send(JSON.stringify({ id: command.id, connect: { client: "client", version: "0" } }));
        if (command.rpc) send(JSON.stringify({ id: command.id, rpc: { data: name } }));
      }
    });
  },

  stomp(socket, send, event, name, repeat) {
    socket.on(event, (data) => {
      const [command] = data.toString().split("\n", 1);
      if (command === "CONNECT" || command === "STOMP") send("CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0");
      if (command !== "SUBSCRIBE") return;
      const [, subscription] = data.toString().match(/\nid:(.*)\n/);
      repeat(() => send(`MESSAGE\nsubscription:${subscription}\nmessage-id:1\ndestination:/name\n\n${name}\0`), socket);
    });
  },

  wamp(socket, send, event, name) {
    socket.on(event, (data) => {
      const [code, request] = JSON.parse(data);
      if (code === 1) send(JSON.stringify([2, 1, { roles: { broker: {}, dealer: {} } }])); // HELLO, WELCOME
      if (code === 48) send(JSON.stringify([50, request, {}, [name]])); // CALL, RESULT
    });
  },

  pusher(socket, send, event, name, repeat) {
    send(JSON.stringify({ event: "pusher:connection_established", data: JSON.stringify({ socket_id: "1.1", activity_timeout: 120 }) }));
    socket.on(event, (data) => {
      const message = JSON.parse(data);
      if (message.event === "pusher:ping") send(JSON.stringify({ event: "pusher:pong" }));
      if (message.event !== "pusher:subscribe") return;
      const { channel } = message.data;
      send(JSON.stringify({ event: "pusher_internal:subscription_succeeded", channel, data: "{}" }));
      repeat(() => send(JSON.stringify({ event: "name", channel, data: JSON.stringify(name) })), socket);
    });
  },
};
