/** The rows, in the order of the table: each is a file of its own in rows/, loaded when it runs. */
export const ROWS = [
  { id: 'call', work: "round trip of a slave's `call`" },
  { id: 'emit', work: "a slave's `emit`, committed and seen by another slave" },
  { id: 'commits', work: 'commits a second from one slave, and delivered to ten' },
  { id: 'state', work: 'a state of 20 MB and of 50 MB to a new slave' },
  { id: 'meanwhile', work: "other slaves' commits while 50 MB go to a new one" },
  { id: 'in-place', work: 'one item changed in place, in a state of 10, 1,000, 100,000' },
  { id: 'new-state', work: 'the same, returned as a new state' },
  { id: 'first-state', work: 'from a name to the first state' },
  { id: 'name-server', work: 'introductions, registrations and memory of the name server' },
  { id: 'durability', work: 'commits a second in memory, in a folder, on the disk itself' },
  { id: 'size', work: 'what a page loads' },
]
