import { watch } from "./reload.js";

await watch(2_000_000);
