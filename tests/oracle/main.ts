/**
 * Replays recorded cases against this project's code: one line per case, then the counts. Fails if a case fails.
 *
 *   npm run oracle -- DIR…      each DIR holds a manifest.json
 */
import { OracleFolder, oracleHosts, replayCase, type OracleCase } from "./play.ts";
import { players } from "./players.ts";

const folders = process.argv.slice(2);
if (folders.length === 0) {
  console.error("oracle: expected at least one folder that holds a manifest.json");
  process.exit(2);
}

const hosts = await oracleHosts();
const counts = { passed: 0, failed: 0, skipped: 0 };
for (const path of folders) {
  let cases: readonly OracleCase[];
  try {
    cases = new OracleFolder(path).cases;
  } catch (error) {
    counts.failed++;
    console.log(`failed  ${path}: ${(error as Error).message}`);
    continue;
  }
  for (const c of cases) {
    const { verdict, line, details } = await replayCase(c, players, hosts);
    counts[verdict]++;
    console.log(line);
    for (const detail of details.slice(0, 12)) console.log(`        ${detail}`);
    if (details.length > 12) console.log(`        and ${details.length - 12} more`);
  }
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed ? 1 : 0;
