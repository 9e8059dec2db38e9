/**
 * The processes of a row: every end of every contender has one of its own, as in life. A row exports what each can be
 * asked to do (`processes`), and the process that measures asks.
 *
 * Promises: a child ends with its parent, and a child that dies fails what it was asked.
 */
import { fork } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** A child that does not end by itself within this time is killed: what it held is gone with it. */
const END_MS = 5_000

export class Child extends EventEmitter {
  #process
  #asked = new Map()
  #number = 0
  #ending = false
  #ended

  /**
   * @param row the file of the row
   * @param role one of its `processes`
   * @param profile a folder for its CPU profile
   */
  constructor(row, role, profile) {
    super()
    this.role = role
    this.#process = fork(fileURLToPath(import.meta.url), [row, role], {
      execArgv: ['--expose-gc', ...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`])],
      serialization: 'advanced',
      // As it is served: in development states are frozen, to find programs that write to them.
      env: { ...process.env, NODE_ENV: 'production' },
    })
    this.#process.on('message', (message) => this.#hear(message))
    this.#ended = new Promise((resolve) => {
      this.#process.once('exit', (code, signal) => {
        const died = new Error(`The process "${role}" ended (${signal ?? code})`)
        this.fail(died)
        if (!this.#ending) this.emit('died', died)
        resolve()
      })
    })
  }

  /** Answers what the child's command answers. */
  ask(command, ...args) {
    return new Promise((resolve, reject) => {
      const number = ++this.#number
      this.#asked.set(number, { resolve, reject })
      this.#process.send({ number, command, args }, (error) => error && reject(error))
    })
  }

  /** Nothing that it was asked will be answered. */
  fail(error) {
    for (const { reject } of this.#asked.values()) reject(error)
    this.#asked.clear()
  }

  async end() {
    this.#ending = true
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), END_MS)
    if (this.#process.connected) this.#process.disconnect()
    await this.#ended
    clearTimeout(timer)
  }

  #hear({ number, answer, error, event, value }) {
    if (event !== undefined) return void this.emit(event, value)
    const asked = this.#asked.get(number)
    this.#asked.delete(number)
    if (error === undefined) asked?.resolve(answer)
    else asked?.reject(new Error(`${this.role}: ${error}`))
  }
}

/** In a child: says something that nobody asked for; the parent hears it as an event. */
export const tell = (event, value) => void process.send?.({ event, value })

async function serve(row, role) {
  const { processes } = await import(pathToFileURL(row).href)
  const commands = processes[role]
  process.on('message', async ({ number, command, args }) => {
    try {
      process.send({ number, answer: await commands[command](...args) })
    } catch (error) {
      process.send({ number, error: error.stack })
    }
  })
  // Ctrl-C reaches all: the parent ends, and that ends this one in order.
  process.on('SIGINT', () => undefined)
  // Without a goodbye to anybody: nothing of it is measured any more.
  process.once('disconnect', () => process.exit())
}

// Not awaited: the row imports this file, which would wait for itself.
if (process.argv[1] === fileURLToPath(import.meta.url)) void serve(process.argv[2], process.argv[3])
