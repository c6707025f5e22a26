/** Runs test files in this page or worker, and tells how they went. */
import { startTests, type Task, type VitestRunner } from "@vitest/runner";

/** One test: its name, and where it failed, why. */
export interface Result { readonly name: string; readonly failure?: string }

/** Imports a file by its address and runs its tests. A file that cannot be imported is one failed test. */
export async function runFile(file: string): Promise<Result[]> {
  const runner: VitestRunner = {
    config: {
      root: "/", setupFiles: [], name: undefined, passWithNoTests: false, testNamePattern: undefined, allowOnly: false, chaiConfig: undefined, maxConcurrency: 1,
      sequence: { seed: 0, hooks: "stack", setupFiles: "list" }, testTimeout: 60_000, hookTimeout: 60_000, retry: 0, includeTaskLocation: false, tags: [], tagsFilter: undefined, strictTags: false,
    },
    importFile: (address) => import(/* @vite-ignore */ address),
  };
  const [done] = await startTests([file], runner), results = done.tasks.flatMap((task) => resultsOf(task));
  return done.result?.errors?.length || results.length === 0 ? [...results, { name: file, failure: reasonOf(done) ?? "no tests in it" }] : results;
}

function resultsOf(task: Task, above = ""): Result[] {
  const name = `${above}${task.name}`;
  if (task.mode === "skip" || task.mode === "todo") return [];
  if (task.type === "suite") return [...task.tasks.flatMap((child) => resultsOf(child, `${name} > `)), ...(task.result?.errors?.length ? [{ name, failure: reasonOf(task) }] : [])];
  return [task.result?.state === "pass" ? { name } : { name, failure: reasonOf(task) ?? "did not run" }];
}

const reasonOf = ({ result }: Task): string | undefined => result?.errors?.map(({ message }) => message).join("; ");
