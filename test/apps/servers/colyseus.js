// Colyseus: rooms of a game, whose state is sent as it changes.
import { createServer } from "node:http";
import { Room, Server } from "@colyseus/core";
import { defineTypes, MapSchema, Schema } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";

class State extends Schema {
  constructor() { super(); this.players = new MapSchema(); }
}
defineTypes(State, { players: { map: "number" } });

class Game extends Room {
  onCreate() {
    this.state = new State();
    this.onMessage("move", (client, to) => this.state.players.set(client.sessionId, to));
    this.onMessage("map", (client, length) => client.send("map", "x".repeat(length)));
  }
  onJoin(client) { this.state.players.set(client.sessionId, 0); }
}

const server = new Server({ transport: new WebSocketTransport({ server: createServer() }), greet: false });
server.define("game", Game);
await server.listen(Number(process.argv[2]), "127.0.0.1");
