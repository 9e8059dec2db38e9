import { expect } from 'chai'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openStorage } from '#src/platform/storage.node.js'
import { codeOf, Fixture } from './nameserver-fixture.js'

const COMMAND = fileURLToPath(import.meta.resolve('#src/cli/main.js'))

describe('command line', () => {
  const fixture = new Fixture()
  afterEach(() => fixture.end())

  interface Running {
    readonly child: ChildProcess
    readonly folder: string
    output: string
    errors: string
    /** The first line of stdout, which says the URL. */
    readonly url: Promise<string>
    readonly ended: Promise<unknown>
  }

  async function start(args: readonly string[], env: Record<string, string> = {}, cwd?: string): Promise<Running> {
    const folder = cwd ?? (await fixture.folder())
    const child = spawn(process.execPath, [COMMAND, ...args], { cwd: folder, env: { ...process.env, ...env } })
    fixture.after(() => child.kill('SIGKILL'))
    const ended = once(child, 'close').then(([code, signal]: unknown[]) => code ?? signal)
    const url = new Promise<string>((resolve) => {
      child.stdout.on('data', () => {
        const found = /serving at (http\S+)\n/.exec(running.output)?.[1]
        if (found !== undefined) resolve(found)
      })
    })
    const running: Running = { child, folder, output: '', errors: '', url, ended }
    child.stdout.prependListener('data', (data: Buffer) => (running.output += data.toString()))
    child.stderr.on('data', (data: Buffer) => (running.errors += data.toString()))
    return running
  }

  async function run(...args: Parameters<typeof start>): Promise<{ code: unknown; output: string; errors: string }> {
    const running = await start(...args)
    return { code: await running.ended, output: running.output, errors: running.errors }
  }

  it('serves, says where in one line, and ends well on SIGTERM and SIGINT', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const running = await start(['nameserver', '--port', '0'])
      const url = await running.url
      const client = await fixture.client(url)
      expect(await client.request('watch', { name: 'garage' })).to.include({ live: false })
      running.child.kill(signal)
      expect(await running.ended).to.equal(0)
      expect(running.output).to.equal(`named-master: serving at ${url}\n`)
    }
  })

  it('lists and frees the names of its folder, and says who holds it while it serves', async () => {
    const running = await start(['nameserver', '--port', '0', '--data', 'names'])
    const { client } = await fixture.master(await running.url, 'garage')
    const locked = await run(['names', '--data', 'names'], {}, running.folder)
    expect(locked.code).to.equal(1)
    expect(locked.errors).to.contain(`held by process ${running.child.pid} since`)
    const second = await run(['nameserver', '--port', '0', '--data', 'names'], {}, running.folder)
    expect(second.code).to.equal(1)
    expect(second.errors).to.match(/^named-master: The database in .* is held by process \d+ since/)
    client.close()
    running.child.kill('SIGTERM')
    expect(await running.ended).to.equal(0)

    const listed = await run(['names', '--data', 'names'], {}, running.folder)
    expect(listed.output).to.match(/^NAME +CLAIMS +REGISTERED\ngarage +1 +20\d\d-/)
    const freed = await run(['names', 'delete', 'Garage', '--data', 'names'], {}, running.folder)
    expect([freed.code, freed.output]).to.deep.equal([0, '"garage" is free: the next startServer registers it\n'])
    const again = await run(['names', 'delete', 'garage'], { NAMED_MASTER_DATA: 'names' }, running.folder)
    expect(again.code).to.equal(1)
    expect(again.errors).to.contain('"garage" is not registered in names')
    expect((await run(['names', '--data', 'names'], {}, running.folder)).output).to.equal(
      'No name is registered in names\n',
    )
  })

  it('makes no database by looking for one', async () => {
    const folder = await fixture.folder()
    const { code, errors } = await run(['names', '--data', 'nowhere'], {}, folder)
    expect(code).to.equal(1)
    expect(errors).to.contain('There is no database in')
    expect(await codeOf(openStorage(join(folder, 'nowhere'), 'name-server', { existing: true }))).to.equal(
      'storage-failed',
    )
  })

  it('takes a flag before the environment before the file before the default', async () => {
    const folder = await fixture.folder()
    await writeFile(
      join(folder, 'all.json'),
      '{"port": 0, "host": "127.0.0.2", "data": "from-file", "logLevel": "silent"}',
    )
    const args = ['nameserver', '--config', 'all.json', '--data', 'from-flag']
    const running = await start(args, { NAMED_MASTER_HOST: '127.0.0.3', NAMED_MASTER_DATA: 'from-variable' }, folder)
    expect(await running.url).to.match(/^http:\/\/127\.0\.0\.3:(?!8002$)\d+$/)
    running.child.kill('SIGTERM')
    expect(await running.ended).to.equal(0)
    expect(running.errors).to.equal('')
    expect(await readFile(join(folder, 'from-flag', 'holder.json'), 'utf8')).to.contain(String(running.child.pid))
  })

  it('stops at a bad configuration with the place, the key and the reason, and no stack', async () => {
    const folder = await fixture.folder()
    await writeFile(join(folder, 'wrong.json'), '{"port": "many"}')
    await writeFile(join(folder, 'turn.config.json'), '{"iceServers": [{"url": "http://a.example"}]}')
    const port = ['--port', '0']
    const cases: [readonly string[], Record<string, string>, RegExp][] = [
      [['--port', '65536'], {}, /^named-master: --port: "65536" is no whole number from 0 to 65535\n$/],
      [[], { NAMED_MASTER_PORT: 'abc' }, /^named-master: NAMED_MASTER_PORT: "abc" is no whole number/],
      [[...port, '--config', 'wrong.json'], {}, /^named-master: wrong\.json: \/port: "many" is no whole number/],
      [[...port, '--turn', 'none.json'], {}, /^named-master: none\.json: there is no such file\n$/],
      [port, {}, /^named-master: turn\.config\.json: \/iceServers\/0\/url: "http:\/\/a\.example" is no stun:/],
    ]
    for (const [args, env, expected] of cases) {
      const { code, output, errors } = await run(['nameserver', ...args], env, folder)
      expect(errors).to.match(expected)
      expect([code, output]).to.deep.equal([1, ''])
      expect(errors).not.to.contain('    at ')
    }
  })

  it('says that the port is in use', async () => {
    const { url } = await fixture.serve()
    const { code, errors } = await run(['nameserver', '--port', new URL(url).port])
    expect(code).to.equal(1)
    expect(errors).to.match(/^named-master: Port \d+ of 127\.0\.0\.1 is in use: stop/m)
  })

  it('shows every option with its default and its variable', async () => {
    const { code, output } = await run(['nameserver', '--help'])
    expect(code).to.equal(0)
    const text = output.replace(/\s+/g, ' ')
    for (const [flag, rest] of Object.entries({
      '--port <number>': '(default: 8002, env: NAMED_MASTER_PORT)',
      '--host <address>': '(default: "127.0.0.1", env: NAMED_MASTER_HOST)',
      '--data <folder>': '(default: "./data", env: NAMED_MASTER_DATA)',
      '--config <file>': '(env: NAMED_MASTER_CONFIG)',
      '--turn <file>': '(default: turn.config.json when it is there) (env: NAMED_MASTER_TURN)',
    })) {
      expect(text).to.contain(flag)
      expect(text).to.contain(rest)
    }
    const commands = (await run(['--help'])).output
    for (const name of ['nameserver', 'names', 'doctor']) expect(commands).to.match(new RegExp(`^  ${name} `, 'm'))
    expect((await run(['--version'])).output).to.match(/^\d+\.\d+\.\d+\n$/)
  })

  it('logs JSON when asked to', async () => {
    const running = await start(['nameserver', '--port', '0', '--data', 'false', '--log-format', 'json'])
    await running.url
    running.child.kill('SIGTERM')
    expect(await running.ended).to.equal(0)
    const lines = running.errors
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { msg: string }).msg)
    expect(lines[0]).to.contain('Names are kept in memory')
  })
})
