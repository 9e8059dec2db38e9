/** A host of a network, as its parent sees it: see host.ts. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Orders, Outcome } from './host.js'

const PROGRAM = fileURLToPath(new URL('host.js', import.meta.url))

interface Asked {
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

export class HostProcess {
  readonly #process: ChildProcess
  readonly #asked = new Map<number, Asked>()
  #last = 0

  constructor(namespace: string) {
    const command = ['netns', 'exec', namespace, process.execPath, PROGRAM]
    this.#process = spawn('ip', command, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#process.on('message', ({ id, value, error }: Outcome) => {
      const asked = this.#asked.get(id)
      this.#asked.delete(id)
      if (error === undefined) asked?.resolve(value as never)
      else asked?.reject(new Error(error))
    })
    this.#process.on('close', (code, signal) => {
      for (const { reject } of this.#asked.values()) reject(new Error(`A host has ended (${code ?? signal})`))
    })
  }

  ask<N extends keyof Orders>(name: N, ...args: Parameters<Orders[N]>): ReturnType<Orders[N]> {
    const id = ++this.#last
    const outcome = new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }))
    this.#process.send({ id, name, args })
    return outcome as ReturnType<Orders[N]>
  }

  /** At once, as hosts do: nobody says goodbye. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const closed = once(this.#process, 'close')
    this.#process.kill('SIGKILL')
    await closed
  }
}
