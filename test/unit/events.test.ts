import { expect } from 'chai'
import { Events } from '#src/events.js'

interface Told {
  said: [text: string, times: number]
  other: []
}

describe('events', () => {
  it('tells each listener of its event, in the order they came', () => {
    const events = new Events<Told>()
    const heard: string[] = []
    events.on('said', (text, times) => heard.push(`first ${text} ${times}`))
    events.on('said', (text) => heard.push(`second ${text}`))
    events.on('other', () => heard.push('other'))
    events.emit('said', 'hello', 2)
    expect(heard).to.deep.equal(['first hello 2', 'second hello'])
  })

  it('reports what a listener throws and still tells the others', () => {
    const reported: unknown[] = []
    const events = new Events<Told>((error) => reported.push(error))
    const thrown = new Error('listener')
    let heard = 0
    events.on('other', () => {
      throw thrown
    })
    events.on('other', () => heard++)
    events.emit('other')
    expect(reported).to.deep.equal([thrown])
    expect(heard).to.equal(1)
  })

  it('tells a listener added twice twice, and removes one of them at a time', () => {
    const events = new Events<Told>()
    let heard = 0
    const listener = () => {
      heard++
    }
    const off = events.on('other', listener)
    events.on('other', listener)
    events.emit('other')
    expect(heard).to.equal(2)
    off()
    off()
    events.emit('other')
    expect(heard).to.equal(3)
  })

  it('tells a once listener once, also when the event is emitted inside it', () => {
    const events = new Events<Told>()
    let heard = 0
    events.once('other', () => {
      heard++
      events.emit('other')
    })
    events.emit('other')
    events.emit('other')
    expect(heard).to.equal(1)
  })

  it('is not disturbed by listeners that come and go while it tells', () => {
    const events = new Events<Told>()
    const heard: string[] = []
    const off = events.on('other', () => {
      heard.push('a')
      off()
      events.on('other', () => heard.push('late'))
    })
    events.on('other', () => heard.push('b'))
    events.emit('other')
    expect(heard).to.deep.equal(['a', 'b'])
    events.emit('other')
    expect(heard).to.deep.equal(['a', 'b', 'b', 'late'])
  })
})
