/** Real programs as processes: what they print, and how they end. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export class Program {
  readonly #process: ChildProcess
  readonly #lines: AsyncIterator<string, undefined>
  #errors = ''

  /** @param args of Node @param where its folder (default: the root of the repository), and what is added to the environment */
  constructor(
    args: readonly string[],
    where: { folder?: string; environment?: Readonly<Record<string, string>> } = {},
  ) {
    this.#process = spawn(process.execPath, args, {
      cwd: where.folder ?? ROOT,
      env: { ...process.env, ...where.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#process.stderr?.on('data', (bytes) => (this.#errors += String(bytes)))
    if (this.#process.stdout === null) throw new Error('The output is not piped')
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]()
  }

  /** The next line that matches; rejects when it ends before. */
  async prints(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const line = await this.#lines.next()
      if (line.done === true) throw new Error(`It ended without ${String(pattern)}:\n${this.#errors}`)
      const match = pattern.exec(line.value)
      if (match !== null) return match
    }
  }

  /** Waits for its end: its exit code, or the signal that killed it, and all else that it printed. */
  async ended(): Promise<{ code: number | string | null; lines: string[]; errors: string }> {
    const exited =
      this.#process.exitCode === null && this.#process.signalCode === null ? once(this.#process, 'close') : undefined
    const lines: string[] = []
    for (let line = await this.#lines.next(); line.done !== true; line = await this.#lines.next())
      lines.push(line.value)
    await exited
    return { code: this.#process.signalCode ?? this.#process.exitCode, lines, errors: this.#errors.trim() }
  }

  async end(signal: 'SIGTERM' | 'SIGINT' | 'SIGKILL' = 'SIGTERM'): Promise<number | string | null> {
    this.#process.kill(signal)
    return (await this.ended()).code
  }
}
