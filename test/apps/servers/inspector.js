// A Node program that can be debugged.
import inspector from "node:inspector";

inspector.open(Number(process.argv[2]), "127.0.0.1");
setInterval(() => {}, 1000);
