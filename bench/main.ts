/** `npm run bench -- NAME`: prints a table, ends with one line of JSON. What was measured on which machine is kept in RESULTS.md. */
import { cpus } from "node:os";

/** Every bench by name; each returns what its JSON line holds. */
const BENCHES: Record<string, () => Promise<{ run(): Promise<unknown> }>> = {
  datasets: () => import("./datasets.ts"),
  integers: () => import("./integers.ts"),
  ops: () => import("./ops.ts"),
  sparsity: () => import("./sparsity.ts"),
  step: () => import("./step.ts"),
  winograd: () => import("./winograd.ts"),
};

const [name = ""] = process.argv.slice(2);
if (!Object.hasOwn(BENCHES, name)) {
  console.error(`bench: expected one of ${Object.keys(BENCHES).join(", ")}, got "${name}"`);
  process.exitCode = 2;
} else {
  const { run } = await BENCHES[name]();
  const results = await run();
  console.log(JSON.stringify({ bench: name, node: process.version, cpu: cpus()[0].model, cores: cpus().length, results }));
}
