// graphql-ws: queries and subscriptions over one socket.
import { GraphQLObjectType, GraphQLSchema, GraphQLString, GraphQLInt } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

const listeners = new Set();
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: "Query", fields: {
    text: { type: GraphQLString, args: { length: { type: GraphQLInt } }, resolve: (_, { length }) => "x".repeat(length) },
  } }),
  mutation: new GraphQLObjectType({ name: "Mutation", fields: {
    say: { type: GraphQLString, args: { text: { type: GraphQLString } }, resolve: (_, { text }) => { listeners.forEach((l) => l(text)); return text; } },
  } }),
  subscription: new GraphQLObjectType({ name: "Subscription", fields: {
    said: { type: GraphQLString, resolve: (text) => text, subscribe: async function* () {
      const queue = [];
      let wake = () => {};
      const listener = (text) => { queue.push(text); wake(); };
      listeners.add(listener);
      try {
        for (;;) {
          while (queue.length > 0) yield queue.shift();
          await new Promise((resolve) => { wake = resolve; });
        }
      } finally {
        listeners.delete(listener);
      }
    } },
  } }),
});
useServer({ schema }, new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), path: "/graphql" }), 12_000);
