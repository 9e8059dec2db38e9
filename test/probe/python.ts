/** Python as a child process: its interpreter, and a client of ours in it that does what it is asked. */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'

export const python = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))
export const sources = new URL('../../test/probe/', import.meta.url)

/** No byte code beside the sources: what lies in test/ decides whether it is compiled again. */
export const environment = { ...process.env, PYTHONDONTWRITEBYTECODE: '1' }

export interface News {
  readonly what: string
  readonly details: unknown
}
interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly error?: { readonly code: string; readonly message: string }
}
interface Waiting {
  readonly wanted: (news: News) => boolean
  readonly resolve: (details: never) => void
  readonly reject: (error: Error) => void
}

/** test/probe/probe.py, which has one slave. */
export class Probe {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #open = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>()
  readonly #news: News[] = []
  #waiting: Waiting[] = []
  #last = 0
  /** What came from it, for whoever has to find out why a test waits. */
  readonly transcript: string[] = []
  /** Why it is over. */
  #over: Error | undefined

  constructor() {
    const script = fileURLToPath(new URL('probe.py', sources))
    this.#child = spawn(python, [script], { env: environment, stdio: ['pipe', 'pipe', 'inherit'] })
    createInterface(this.#child.stdout).on('line', (line) => {
      this.transcript.push(line.slice(0, 200))
      this.#read(JSON.parse(line) as News | Answer)
    })
    this.#child.once('close', (code, signal) => this.#end(new Error(`Python ended with ${signal ?? code}`)))
  }

  /** Rejected with `code: sentence` when the probe was refused. */
  do<R = unknown>(what: string, parameters: object = {}): Promise<R> {
    const answered = new Promise<R>((resolve, reject) => {
      if (this.#over !== undefined) return reject(this.#over)
      this.#open.set(++this.#last, { resolve, reject })
      this.#child.stdin.write(`${JSON.stringify({ id: this.#last, do: what, with: parameters })}\n`)
    })
    // A test that failed has left some behind, and its own failure is the one to be shown.
    answered.catch(() => undefined)
    return answered
  }

  /** What its slave told its program: the next that is wanted, of what was not taken yet. Others stay. */
  hears<D = unknown>(what: string, wanted: (details: D) => boolean = () => true): Promise<D> {
    const isWanted = (news: News): boolean => news.what === what && wanted(news.details as D)
    const at = this.#news.findIndex(isWanted)
    if (at !== -1) return Promise.resolve(this.#news.splice(at, 1)[0]?.details as D)
    if (this.#over !== undefined) return Promise.reject(this.#over)
    return new Promise((resolve, reject) => this.#waiting.push({ wanted: isWanted, resolve, reject }))
  }

  /** It says goodbye and ends by itself. Answers its exit code. */
  async close(): Promise<number | null> {
    this.#child.stdin.end()
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'close')
    return this.#child.exitCode
  }

  #read(line: News | Answer): void {
    if ('what' in line) return this.#hear(line)
    const open = this.#open.get(line.id)
    this.#open.delete(line.id)
    if (line.error === undefined) open?.resolve(line.result as never)
    else open?.reject(new Error(`${line.error.code}: ${line.error.message}`))
  }

  #hear(news: News): void {
    const waiting = this.#waiting.find(({ wanted }) => wanted(news))
    if (waiting === undefined) return void this.#news.push(news)
    this.#waiting = this.#waiting.filter((other) => other !== waiting)
    waiting.resolve(news.details as never)
  }

  #end(why: Error): void {
    this.#over = why
    for (const { reject } of [...this.#open.values(), ...this.#waiting]) reject(why)
  }
}
