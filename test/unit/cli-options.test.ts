import { expect } from 'chai'
import { Command } from 'commander'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addOptions, flagOf, OPTIONS, settingsOf, variableOf, type OptionKey, type Settings } from '#src/cli/options.js'

describe('command line: options', () => {
  const keys = Object.keys(OPTIONS) as OptionKey[]
  const folder = mkdtempSync(join(tmpdir(), 'named-master-'))
  const file = join(folder, 'config.json')
  const variables = [...keys, 'config'].map(variableOf)
  const clear = () => variables.forEach((name) => delete process.env[name])
  beforeEach(clear)
  after(() => {
    clear()
    rmSync(folder, { recursive: true })
  })

  function read(args: readonly string[], env: Record<string, string> = {}, config?: string): Settings {
    clear()
    Object.assign(process.env, env)
    if (config !== undefined) writeFileSync(file, config)
    const command = addOptions(new Command().exitOverride(), keys)
    command.parse([...(config === undefined ? [] : ['--config', file]), ...args], { from: 'user' })
    return settingsOf(command, keys)
  }

  /** Each option in its three spellings, with a value that is not its default. */
  const samples: { [K in OptionKey]: readonly [text: string, json: unknown, value: Settings[K]] } = {
    port: ['1234', 1234, 1234],
    host: ['0.0.0.0', '0.0.0.0', '0.0.0.0'],
    data: ['false', false, false],
    turn: ['turn.json', 'turn.json', 'turn.json'],
    origins: [
      'https://a.example, http://b.example:81',
      ['https://a.example', 'http://b.example:81'],
      ['https://a.example', 'http://b.example:81'],
    ],
    trustProxy: ['true', true, true],
    limits: [
      'socketsPerAddress=7,watchesPerSocket=8',
      { socketsPerAddress: 7, watchesPerSocket: 8 },
      { socketsPerAddress: 7, watchesPerSocket: 8 },
    ],
    pingInterval: ['500', 500, 500],
    pingTimeout: ['600', 600, 600],
    logLevel: ['debug', 'debug', 'debug'],
    logFormat: ['json', 'json', 'json'],
    nameServer: ['wss://a.example/names', 'wss://a.example/names', 'https://a.example/names'],
    timeout: ['3', 3, 3],
    json: ['true', true, true],
  }

  for (const key of keys) {
    it(`takes ${key} as a flag, a variable and a key of the file`, () => {
      const [text, json, value] = samples[key]
      expect(read([])[key]).to.deep.equal(OPTIONS[key].default)
      expect(read([flagOf(key), text])[key]).to.deep.equal(value)
      expect(read([], { [variableOf(key)]: text })[key]).to.deep.equal(value)
      expect(read([], {}, JSON.stringify({ [key]: json }))[key]).to.deep.equal(value)
    })
  }

  it('puts a flag before a variable before the file', () => {
    const config = '{"port": 1, "host": "file", "data": "file"}'
    const env = { NAMED_MASTER_PORT: '2', NAMED_MASTER_HOST: 'variable' }
    expect(read(['--port', '3'], env, config)).to.include({ port: 3, host: 'variable', data: 'file' })
    expect(read(['--trust-proxy'], { NAMED_MASTER_TRUST_PROXY: 'no' })).to.include({ trustProxy: true })
  })

  const wrong: [string[], Record<string, string>, string | undefined, RegExp][] = [
    [['--port', '65536'], {}, undefined, /^--port: "65536" is no whole number from 0 to 65535$/],
    [['--port', '1e3'], {}, undefined, /^--port: /],
    [[], { NAMED_MASTER_PORT: '' }, undefined, /^NAMED_MASTER_PORT: "" is no whole number/],
    [[], { NAMED_MASTER_TRUST_PROXY: 'maybe' }, undefined, /^NAMED_MASTER_TRUST_PROXY: "maybe" is neither/],
    [[], {}, '{"port": ', /config\.json: .*JSON/],
    [[], {}, '[]', /config\.json: is no JSON object/],
    [[], {}, '{"prot": 1}', /config\.json: \/prot: is no option: port, host/],
    [['--port', '1'], {}, '{"port": "many"}', /config\.json: \/port: "many" is no whole number/],
    [[], {}, '{"host": 7}', /config\.json: \/host: 7 is no text/],
    [['--origins', 'https://a.example/path'], {}, undefined, /^--origins: .* is no origin such as/],
    [['--limits', 'socketsPerAddress=none'], {}, undefined, /^--limits: .* gives socketsPerAddress no whole number/],
    [['--limits', 'sockets=1'], {}, undefined, /^--limits: .* names "sockets", which is none of/],
    [['--name-server', 'ftp://a.example'], {}, undefined, /^--name-server: .* is no URL such as http:/],
    [['--timeout', '0'], {}, undefined, /^--timeout: "0" is no whole number from 1 to 600$/],
    [['--log-level', 'loud'], {}, undefined, /^--log-level: "loud" is none of silent/],
  ]
  for (const [args, env, config, expected] of wrong) {
    it(`refuses ${[...args, ...Object.entries(env).flat(), config ?? ''].join(' ')}`, () => {
      expect(() => read(args, env, config))
        .to.throw(expected)
        .with.property('code', 'invalid-config')
    })
  }

  it('stops at a file that is not there', () => {
    expect(() => read(['--config', join(folder, 'none.json')])).to.throw(/none\.json: there is no such file$/)
  })
})
