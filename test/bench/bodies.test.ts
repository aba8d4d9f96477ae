import { expect, test } from 'vitest'
import { benchMessages, benchRequests } from './bodies.ts'

test('messages have values of the wanted size, and keyed ones take turns with 1,000 keys', () => {
  const messages = benchMessages(2000, 200, true)
  expect(messages.every(({ value }) => Buffer.byteLength(value) === 200)).toBe(true)
  expect(new Set(messages.map(({ key }) => key)).size).toBe(1000)
  expect(benchMessages(1, 200, false)[0]?.key).toBeNull()
})

test('a request holds as many lines as the batch is large, each of them a message', () => {
  const messages = benchMessages(10, 50, true)
  const requests = benchRequests(messages, 5)
  expect(requests).toHaveLength(2)
  const lines = requests.flatMap(({ body }) => body.trimEnd().split('\n'))
  expect(lines.map((line) => JSON.parse(line))).toEqual(messages)
})

test('a batch of one is a single message with a raw body', () => {
  const [request] = benchRequests(benchMessages(1, 50, true), 1)
  expect(request).toEqual({
    headers: { 'Content-Type': 'text/plain', 'Outrigger-Key': 'key-0000' },
    body: benchMessages(1, 50, true)[0]?.value,
  })
})
