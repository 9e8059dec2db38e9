/** README.md says what is so: its samples are files (test/browser/readme.test.ts runs them), its options the command's. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect } from 'chai'
import { flagOf, OPTIONS, variableOf } from '#src/cli/options.js'
import { DEFAULT_LIMITS } from '#nameserver/limits.js'

const root = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')
const readme = read('README.md')

/** A block of code below a comment that names its file. */
const samples = [...readme.matchAll(/^<!-- (\S+) -->\n\n```\w+\n([\s\S]*?)^```$/gm)].map(
  ([, file = '', text = '']) => ({
    file,
    text,
  }),
)

interface Row<T> {
  readonly value?: string
  readonly default: T
  readonly description: string
}

describe('README.md', () => {
  for (const { file, text } of samples) {
    it(`shows ${file} as it is`, () => {
      expect(text).to.equal(read(file))
    })
  }

  it('shows every sample there is', () => {
    const files = readdirSync(new URL('examples/readme', root)).map((file) => `examples/readme/${file}`)
    expect(samples.map(({ file }) => file)).to.have.members([...files, 'turn.config.example.json'])
  })

  it('has no program that is not a file', () => {
    // Commands for a shell, and plain text, are what remains.
    const others = readme.replaceAll(/^<!-- \S+ -->\n\n```[\s\S]*?^```$/gm, '')
    expect([...others.matchAll(/^```(\w+)$/gm)].map(([, language]) => language)).to.satisfy((languages: string[]) =>
      languages.every((language) => language === 'sh'),
    )
  })

  it('has the options of the command, with their variables, keys and defaults', () => {
    const rows = readme
      .split('\n')
      .filter((line) => line.startsWith('| `--'))
      .map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim())) // prettier-ignore
    const expected = Object.entries(OPTIONS as Record<string, Row<unknown>>).map(([key, row]) => [
      `\`${flagOf(key)}${row.value === undefined ? '' : ` ${row.value}`}\``,
      `\`${variableOf(key)}\``,
      `\`${key}\``,
      ['string', 'number', 'boolean'].includes(typeof row.default) ? `\`${row.default as string}\`` : '',
      row.description,
    ])
    expect(rows).to.deep.equal(expected)
  })

  it('has the limits and their defaults', () => {
    const limits = Object.entries(DEFAULT_LIMITS).map(([key, value]) => `${key}=${value}`)
    expect(readme).to.include(`\`\`\`\n${limits.join('\n')}\n\`\`\`\n`)
  })
})

describe('links in the documents', () => {
  const documents = [
    ...readdirSync(root).filter((file) => file.endsWith('.md')),
    ...readdirSync(new URL('docs', root), { recursive: true })
      .map((file) => `docs/${String(file)}`)
      .filter((file) => file.endsWith('.md')),
  ]
  const anchorsIn = (text: string): string[] =>
    [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    )

  for (const document of documents) {
    it(`${document} leads nowhere that is not there`, () => {
      const text = read(document)
      const links = [...text.matchAll(/(?<!!)\[[^\]]*\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
      const broken = links.filter((link) => {
        if (/^https?:/.test(link)) return false
        const [path = '', anchor] = link.split('#')
        const target = path === '' ? new URL(document, root) : new URL(path, new URL(document, root))
        if (!existsSync(target)) return true
        return anchor !== undefined && !anchorsIn(readFileSync(target, 'utf8')).includes(anchor)
      })
      expect(broken).to.deep.equal([])
    })
  }
})
