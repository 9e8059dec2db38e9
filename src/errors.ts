/**
 * One error class with a stable code. Misuse of the API is a plain TypeError; an expected absence is a value.
 */
import { toErrorCode, type ErrorCode } from './protocol/codes.js'
import type { Fault } from './protocol/naming.js'

export type { ErrorCode }

export class NamedMasterError extends Error {
  override readonly name = 'NamedMasterError'
  /** A stable code in kebab case; the sentence in `message` may change. */
  readonly code: ErrorCode
  /** Whether another end raised it and it travelled here. */
  readonly remote: boolean

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; remote?: boolean } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.remote = options.remote ?? false
  }

  /** As it travels: the code and the sentence; no stack and no cause leave the process. */
  toFault(): Fault {
    // A pair of surrogates may have been cut in two, and a lone one is no text that every language can write.
    return { code: this.code, message: this.message.slice(0, 2048).replace(/\p{Surrogate}/gu, '\ufffd') }
  }

  static fromFault(fault: Fault): NamedMasterError {
    return new NamedMasterError(toErrorCode(fault.code), fault.message, { remote: true })
  }

  /** Whatever was thrown, as one of ours. What is no error of ours gets `code` and `sentence`, and is kept as the cause. */
  static from(thrown: unknown, code: ErrorCode, sentence: string): NamedMasterError {
    return thrown instanceof NamedMasterError ? thrown : new NamedMasterError(code, sentence, { cause: thrown })
  }
}
