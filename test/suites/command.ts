/** The command `named-master`, as a process of its own. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const COMMAND = fileURLToPath(import.meta.resolve('#src/cli/main.js'))

export interface Ended {
  /** The exit code, or the signal that ended it. */
  readonly code: unknown
  readonly output: string
  readonly errors: string
}

/** Runs it to its end. */
export function runCommand(args: readonly string[], cwd: string, env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { cwd, env: { ...process.env, ...env } }
    const child = execFile(process.execPath, [COMMAND, ...args], options, (_error, output, errors) =>
      resolve({ code: child.exitCode ?? child.signalCode, output, errors }),
    )
  })
}
