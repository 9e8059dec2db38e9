import { expect } from 'chai'
import { finder, Report, type Finding } from '#src/cli/report.js'

const find = finder('path', 'garage')

/** What a report with these findings writes. */
function written(
  options: { isTTY?: boolean; json?: boolean; noColours?: boolean },
  ...findings: readonly Finding[]
): string {
  let text = ''
  const { isTTY = false, json = false, noColours = false } = options
  const report = new Report({ isTTY, write: (more) => (text += more) }, { json, noColours })
  report.add(...findings)
  report.end()
  return text
}

describe('report', () => {
  const findings = [find('ok', 'It is so'), find('warning', 'It may be'), find('fail', 'It is not')]

  it('writes a line each, and how many were not well', () => {
    expect(written({}, ...findings)).to.equal(
      'ok       It is so\nwarning  It may be\nFAIL     It is not\n\n3 checks, 1 failed, 1 with a warning\n',
    )
    expect(written({}, find('ok', 'It is so'))).to.equal('ok       It is so\n\n1 check, 0 failed\n')
  })

  it('has colours on a terminal only, and none where they are not wanted', () => {
    const plain = written({}, ...findings)
    const coloured = written({ isTTY: true }, ...findings)
    expect(coloured).to.contain('\x1b[31mFAIL   \x1b[39m')
    expect(coloured.replaceAll(/\x1b\[\d+m/g, '')).to.equal(plain)
    expect(written({ isTTY: true, noColours: true }, ...findings)).to.equal(plain)
    expect(written({ isTTY: true, json: true }, ...findings)).not.to.contain('\x1b')
  })

  it('keeps what a stranger says from steering the terminal', () => {
    expect(written({ isTTY: true, noColours: true }, find('fail', 'A\x1b[2Jname\r\nok  '))).to.contain('A [2Jname ok')
    expect(written({ json: true }, find('fail', 'A\x1b[2J'))).not.to.contain('\x1b')
  })

  it('is one JSON object for a machine', () => {
    expect(JSON.parse(written({ json: true }, ...findings))).to.deep.equal({ ok: false, checks: findings })
    expect(JSON.parse(written({ json: true }, find('warning', 'It may be')))).to.include({ ok: true })
  })

  for (const isTTY of [true, false]) {
    it(`shows what is waited for ${isTTY ? 'and wipes it away' : 'not where nobody looks'}`, async () => {
      let text = ''
      const report = new Report({ isTTY, write: (more) => (text += more) }, { json: false, noColours: true })
      const failure = new Error('It went wrong')
      expect(await report.during('a path', Promise.resolve(1))).to.equal(1)
      expect(await report.during('a path', Promise.reject(failure)).catch((error: unknown) => error)).to.equal(failure)
      expect(text).to.equal(isTTY ? '\r\x1b[K| a path\r\x1b[K'.repeat(2) : '')
    })
  }
})
