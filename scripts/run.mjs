/** Starting other programs from the root of the repository. Uses nothing but Node. */
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** A command of node_modules, run by this Node. Answers its exit code, or throws when it is not 0. */
export const runTool = (packagePath, args, options) =>
  run(process.execPath, [join(root, 'node_modules', packagePath), ...args], options)

/** Runs a program to its end with our output; throws when it fails. */
export async function run(command, args, options = {}) {
  const { code, signal } = await ended(spawn(command, args, { cwd: root, stdio: 'inherit', ...options }))
  if (code !== 0)
    throw new CommandFailed(`${[command, ...args].join(' ')} ${signal ? `died by ${signal}` : `ended with ${code}`}`)
}

/** A program that ran and said no: its own output tells why, so no stack is shown for it. */
export class CommandFailed extends Error {}

/** How a child process ended. */
export const ended = (child) =>
  new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal }))
  })

/** Runs a script's main function; a failure is one sentence where the sentence is enough. */
export async function main(work) {
  try {
    await work()
  } catch (error) {
    console.error(error instanceof CommandFailed ? error.message : error)
    process.exitCode = 1
  }
}
