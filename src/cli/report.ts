/**
 * What a command found out, as it finds it out: a line each for a person, or one JSON object for a machine.
 *
 * Promises: colours and the sign that it is still at work go to a terminal only; nothing that a stranger said reaches
 * the terminal as a control character.
 */
import { styleText } from 'node:util'

type Verdict = 'ok' | 'warning' | 'fail'

export interface Finding {
  /** What was checked, as one word for a machine. */
  readonly check: string
  /** Which one: a file, a URL, a name. */
  readonly subject: string
  readonly verdict: Verdict
  /** What is so; where that is not well, also what to do. */
  readonly sentence: string
}

/** Makes the findings of one check. */
export const finder =
  (check: string, subject: string) =>
  (verdict: Verdict, sentence: string): Finding => ({ check, subject, verdict, sentence })

/** Whole milliseconds since a moment of `performance.now()`. */
export const since = (began: number): number => Math.ceil(performance.now() - began)

/** The sentence of whatever was thrown. */
export const reasonIn = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** What is used of process.stdout. */
export interface Output {
  readonly isTTY?: boolean
  write(text: string): unknown
}

const MARKS = { ok: ['ok', 'green'], warning: ['warning', 'yellow'], fail: ['FAIL', 'red'] } as const
const MARK_WIDTH = 'warning'.length

const SPINNER = ['|', '/', '-', '\\']
const SPINNER_MS = 100
const ERASE_LINE = '\r\x1b[K'

export class Report {
  readonly #output: Output
  readonly #json: boolean
  readonly #terminal: boolean
  readonly #colours: boolean
  readonly #findings: Finding[] = []

  constructor(output: Output, { json, noColours }: { readonly json: boolean; readonly noColours: boolean }) {
    this.#output = output
    this.#json = json
    this.#terminal = output.isTTY === true && !json
    this.#colours = this.#terminal && !noColours
  }

  get failed(): boolean {
    return this.#count('fail') > 0
  }

  add(...findings: readonly Finding[]): void {
    this.#findings.push(...findings)
    if (this.#json) return
    for (const { verdict, sentence } of findings) {
      const [mark, colour] = MARKS[verdict]
      const text = mark.padEnd(MARK_WIDTH)
      this.#output.write(
        `${this.#colours ? styleText(colour, text, { validateStream: false }) : text}  ${sentence.replace(/[\p{Cc}\p{Cf}]+/gu, ' ')}\n`,
      )
    }
  }

  /** Shows that something is waited for, until it is there. */
  async during<T>(what: string, work: Promise<T>): Promise<T> {
    if (!this.#terminal) return work
    let turn = 0
    const draw = (): void => {
      this.#output.write(
        `${ERASE_LINE}${SPINNER[turn++ % SPINNER.length] ?? ''} ${what.replace(/[\p{Cc}\p{Cf}]+/gu, ' ')}`,
      )
    }
    draw()
    const timer = setInterval(draw, SPINNER_MS)
    try {
      return await work
    } finally {
      clearInterval(timer)
      this.#output.write(ERASE_LINE)
    }
  }

  end(): void {
    if (this.#json) {
      this.#output.write(`${JSON.stringify({ ok: !this.failed, checks: this.#findings }, undefined, 2)}\n`)
      return
    }
    const all = this.#findings.length
    const counts = [`${all} ${all === 1 ? 'check' : 'checks'}`, `${this.#count('fail')} failed`]
    if (this.#count('warning') > 0) counts.push(`${this.#count('warning')} with a warning`)
    this.#output.write(`\n${counts.join(', ')}\n`)
  }

  #count(verdict: Verdict): number {
    return this.#findings.filter((finding) => finding.verdict === verdict).length
  }
}
