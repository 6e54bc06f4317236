// Two editors of one document, as Yjs has it.
import { assert, finish, idle, large, until } from "./client.js";

// edit works with providers that connect makes; isReady reports whether one has all of the document.
export async function edit(Y, connect, isReady) {
  const docs = [new Y.Doc(), new Y.Doc()];
  const providers = docs.map(connect);
  const texts = docs.map((doc) => doc.getText("text"));
  await until("both have the document", () => providers.every(isReady));
  let closes = 0;
  providers.forEach((p) => p.on("connection-close", () => { closes++; }));
  providers.forEach((p) => p.on("disconnect", () => { closes++; }));
  const same = (what) => until(what, () => texts[0].toString() === texts[1].toString() && texts[0].length > 0);

  texts[0].insert(0, "of the first");
  await same("the first edit arrives");
  texts[0].insert(0, large(3_000_000));
  texts[1].insert(0, "of the second");
  await until("both edits arrive", () => texts.every((t) => t.length === 3_000_025));
  await same("they are merged alike");
  await idle();
  texts[1].delete(0, texts[1].length);
  texts[1].insert(0, "last");
  await until("the last edit arrives", () => texts[0].toString() === "last");
  assert.equal(closes, 0, "it had to connect again");
  providers.forEach((p) => p.destroy());
  finish();
}
