import { expect } from 'chai'
import * as v from 'valibot'
import { NamedMasterError } from '#src/errors.js'
import { ERROR_CODES, toErrorCode } from '#src/protocol/codes.js'
import { checkJson } from '#src/protocol/json.js'
import { Fault } from '#src/protocol/naming.js'

describe('errors', () => {
  it('have a code, a sentence and a cause, and were raised here', () => {
    const cause = new Error('below')
    const error = new NamedMasterError('timeout', 'Try again.', { cause })
    expect(error).to.be.an.instanceOf(Error)
    expect(error).to.include({ name: 'NamedMasterError', code: 'timeout', message: 'Try again.', remote: false, cause })
    expect(String(error)).to.equal('NamedMasterError: Try again.')
    expect('cause' in new NamedMasterError('timeout', 'Try again.')).to.equal(false)
    expect('cause' in new NamedMasterError('timeout', 'Try again.', { cause: undefined })).to.equal(true)
  })

  it('travel as code and sentence: no stack and no cause leave the process', () => {
    const error = new NamedMasterError('refused', 'Not you.', { cause: new Error('a secret path') })
    const fault = error.toFault()
    expect(fault).to.deep.equal({ code: 'refused', message: 'Not you.' })
    const back = NamedMasterError.fromFault(fault)
    expect(back).to.include({ code: 'refused', message: 'Not you.', remote: true })
    expect('cause' in back).to.equal(false)
  })

  it('travel whatever their sentence is', () => {
    for (const sentence of ['', 'x'.repeat(5000), `${'x'.repeat(2047)}😀`]) {
      const fault = new NamedMasterError('internal', sentence).toFault()
      expect(v.is(Fault, fault)).to.equal(true)
      expect(checkJson(fault).ok, 'no half of a character').to.equal(true)
    }
  })

  it('read a code of a newer version as internal, and keep its sentence', () => {
    const error = NamedMasterError.fromFault({ code: 'brand-new', message: 'Do this.' })
    expect(error).to.include({ code: 'internal', message: 'Do this.', remote: true })
    expect(toErrorCode('constructor')).to.equal('internal')
  })

  it('take over what was thrown, and leave one of ours as it is', () => {
    const ours = new NamedMasterError('conflict', 'Again.')
    expect(NamedMasterError.from(ours, 'internal', 'Else.')).to.equal(ours)
    for (const thrown of [new TypeError('x'), 'text', undefined]) {
      expect(NamedMasterError.from(thrown, 'storage-failed', 'Look at the disk.')).to.include({
        code: 'storage-failed',
        message: 'Look at the disk.',
        remote: false,
        cause: thrown,
      })
    }
  })

  it('have codes in kebab case, each once, that fit the wire', () => {
    expect(new Set(ERROR_CODES).size).to.equal(ERROR_CODES.length)
    for (const code of ERROR_CODES) {
      expect(code).to.match(/^[a-z]+(-[a-z]+)*$/)
      expect(toErrorCode(code)).to.equal(code)
      expect(v.is(Fault, { code, message: '' })).to.equal(true)
    }
  })
})
