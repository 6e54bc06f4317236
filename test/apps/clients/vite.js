import { watch } from "./reload.js";

await watch(8_000_000);
