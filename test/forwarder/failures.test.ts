import { describe, expect, test } from 'vitest'
import type { Broker } from '../../src/forwarder/broker.ts'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { FakeBroker } from './fake-broker.ts'
import type { Rig } from './rig.ts'
import { message, seqOf, until, withRig } from './rig.ts'

const away = new BrokerError('transient', 'ECONNREFUSED', 'the broker is away')
const blocked = new BrokerError('blocked', 'UNKNOWN_TOPIC', 'no such topic')
const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i)
const kept = (broker: FakeBroker, topic: string): number[] =>
  broker.attempts
    .filter((attempt) => attempt.topic === topic && attempt.outcome === 'delivered')
    .flatMap(({ messages }) => messages.map(seqOf))
const payload = (bytes: number): Buffer => Buffer.alloc(bytes)

describe('trouble that passes', () => {
  test('is waited out: the batch is sent again whole, and nothing overtakes it', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { batchMessagesMax: 5 }, async (rig) => {
      broker.next(3, away)
      await rig.publish(...range(12).map(() => message('t')))
      await rig.finished()
      const sent = broker.attempts.map(({ messages, outcome }) => [outcome, ...messages.map(seqOf)])
      expect(sent).toEqual([
        ['failed', 1, 2, 3, 4, 5],
        ['failed', 1, 2, 3, 4, 5],
        ['failed', 1, 2, 3, 4, 5],
        ['delivered', 1, 2, 3, 4, 5],
        ['delivered', 6, 7, 8, 9, 10],
        ['delivered', 11, 12],
      ])
      expect(rig.retries.map(({ attempts, error }) => [attempts, error])).toEqual([1, 2, 3].map((n) => [n, away]))
      await until(() => rig.cursor.position.seq === 13)
      const receipts = (await rig.allReceipts()).filter((receipt) => receipt.kind === 'delivered')
      expect(receipts.map(({ attempts }) => attempts)).toEqual([4, 1, 1])
    })
  })

  test('never grows what is sent again, though more has come since', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { retryDelay: 30, retryDelayMax: 30 }, async (rig) => {
      broker.next(2, blocked)
      await rig.publish(message('t'), message('t'))
      await until(() => broker.attempts.length === 1)
      await rig.publish(message('t'), message('t'))
      await rig.finished()
      const sent = broker.attempts.map(({ messages }) => messages.map(seqOf))
      expect(sent.slice(0, 3)).toEqual([sent[0], sent[0], sent[0]])
      expect(kept(broker, 't')).toEqual([1, 2, 3, 4])
    })
  })

  test('opens the breaker when it goes on; then one send at a time tries, and all goes out by itself afterwards', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { breakerFailures: 4, breakerDelayMax: 30 }, async (rig) => {
      const lift = broker.fail(away)
      await rig.publish(...range(60).map((i) => message(`t${i % 20}`)))
      await until(() => rig.events.filter((event) => event === 'breaker half-open').length >= 3)
      // All lanes had sent before it opened; since then there was one send for each time it was half open.
      const probes = rig.events.filter((event) => event === 'breaker half-open').length
      expect(broker.attempts.length).toBeLessThanOrEqual(20 + probes)
      expect(rig.forwarder.status().breaker).not.toBe('closed')
      lift()
      await rig.finished()
      expect(rig.events.at(rig.events.lastIndexOf('breaker closed'))).toBe('breaker closed')
      expect(rig.forwarder.status().breaker).toBe('closed')
      for (const t of range(20)) expect(kept(broker, `t${t}`)).toEqual([t + 1, t + 21, t + 41])
    })
  })

  test('costs no work while the breaker is open, however many topics wait', async () => {
    const broker = new FakeBroker()
    const options = { breakerFailures: 1, retryDelay: 5, retryDelayMax: 1000, breakerDelayMax: 1000 }
    await withRig(broker, options, async (rig) => {
      const lift = broker.fail(away)
      await rig.publish(...range(300).map((i) => message(`t${i}`)))
      await until(() => rig.forwarder.status().breaker === 'open')
      await sleep(100)
      const { calls } = rig.life
      await sleep(300)
      // 300 lanes that each tried every 5 ms would make 18,000.
      expect(rig.life.calls - calls).toBeLessThan(1500)
      lift()
      await rig.finished()
    })
  })

  test('ends a send that hangs after the timeout, and sends again', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { sendTimeout: 40 }, async (rig) => {
      broker.next(2, 'hang')
      await rig.publish(message('t'), message('t'))
      await rig.finished()
      expect(broker.attempts.map(({ outcome }) => outcome)).toEqual(['aborted', 'aborted', 'delivered'])
      expect(rig.retries.map(({ error }) => [error.failure, error.reason])).toEqual([
        ['transient', 'SEND_TIMEOUT'],
        ['transient', 'SEND_TIMEOUT'],
      ])
    })
  })

  test('sends on after the timeout even if the broker heeds no signal, and bears its late failure', async () => {
    let sends = 0
    const broker: Broker = {
      send: async (_, messages) => {
        if (++sends > 1) return { partitions: messages.map(() => 0), offsets: messages.map(() => 0) }
        await sleep(60)
        throw new Error('too late to matter')
      },
      close: async () => {},
    }
    await withRig(broker, { sendTimeout: 20 }, async (rig) => {
      await rig.publish(message('t'))
      await rig.finished()
      await sleep(60)
      expect(sends).toBe(2)
    })
  })

  test('is shown in the status while it lasts', async () => {
    const broker = new FakeBroker()
    await withRig(broker, {}, async (rig) => {
      const lift = broker.fail(new BrokerError('fatal', 'SASL', 'who are you?', { hint: 'Log in.' }))
      await rig.publish(message('t', '', { acceptedAt: 77 }), message('t', '', { acceptedAt: 78 }))
      await until(() => rig.retries.length >= 2)
      const { lanes, ...status } = rig.forwarder.status()
      expect(status).toMatchObject({ backlogMessages: 2, oldestAcceptedAt: 77 })
      expect(lanes).toMatchObject([{ topic: 't', queuedMessages: 2, failure: { reason: 'SASL', hint: 'Log in.' } }])
      lift()
      await rig.finished()
      expect(rig.forwarder.status().lanes).toEqual([])
    })
  })

  test('keeps a batch whose answer was lost in order: it is sent again before anything else', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { batchMessagesMax: 3 }, async (rig) => {
      broker.next(1, 'lost-answer')
      await rig.publish(...range(6).map(() => message('t')))
      await rig.finished()
      expect(broker.attempts.map(({ messages }) => messages.map(seqOf))).toEqual([
        [1, 2, 3],
        [1, 2, 3],
        [4, 5, 6],
      ])
    })
  })
})

describe('a topic that is blocked', () => {
  const tight = { laneBytesMax: 8000, batchBytesMax: 4000, memoryBytesMax: 64_000, breakerFailures: 3 }

  test('delays no other topic, holds little memory, and delivers all in order when it may', async () => {
    const broker = new FakeBroker()
    await withRig(broker, tight, async (rig) => {
      const lift = broker.fail(blocked, 'bad')
      let heldMax = 0
      watchMemory(rig, () => {
        const held = rig.forwarder.status().lanes.find(({ topic }) => topic === 'bad')?.queuedMessages ?? 0
        heldMax = Math.max(heldMax, held)
      })
      for (const round of range(40)) {
        await rig.publish(...range(10).map((i) => message(i % 2 === 0 ? 'bad' : `good-${i % 3}`, payload(500))))
        if (round % 10 === 0) await sleep(2)
      }
      await until(
        () => kept(broker, 'good-0').length + kept(broker, 'good-1').length + kept(broker, 'good-2').length === 200,
      )
      expect(kept(broker, 'bad')).toEqual([])
      expect(rig.forwarder.status().breaker).toBe('closed')
      expect(rig.forwarder.status().backlogMessages).toBe(400)
      // As many as a lane may hold, and the five of a block.
      expect(heldMax).toBeLessThan(8000 / 600 + 5)
      lift()
      await rig.finished()
      expect(kept(broker, 'bad')).toEqual(range(200).map((i) => 1 + 2 * i))
    })
  })

  test('makes room in memory for others by forgetting what it holds', async () => {
    const broker = new FakeBroker()
    const options = { ...tight, laneBytesMax: 60_000, memoryBytesMax: 60_000 }
    await withRig(broker, options, async (rig) => {
      const lifts = range(5).map((i) => broker.fail(blocked, `bad-${i}`))
      const memory = watchMemory(rig)
      for (const round of range(50))
        await rig.publish(...range(20).map((i) => message(i % 2 === 0 ? `bad-${round % 5}` : 'good', payload(400))))
      await until(() => kept(broker, 'good').length === 500)
      expect(memory()).toBeLessThan(60_000 + 20 * 700)
      for (const lift of lifts) lift()
      await rig.finished()
      const bad = range(5).flatMap((i) => {
        const seqs = kept(broker, `bad-${i}`)
        expect(seqs).toEqual(seqs.toSorted((a, b) => a - b))
        return seqs
      })
      expect(bad.toSorted((a, b) => a - b)).toEqual(range(500).map((i) => 1 + 2 * i))
      expect(memory()).toBeLessThan(60_000 + 20 * 700)
    })
  })

  test('holds a single message to try with, once it was forgotten', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { ...tight, laneBytesMax: 60_000, memoryBytesMax: 60_000 }, async (rig) => {
      const lift = broker.fail(blocked, 'bad')
      broker.next(1, 'hang', 'good')
      await rig.publish(...range(100).map(() => message('bad', payload(400))))
      await rig.publish(...range(40).map(() => message('good', payload(400))))
      await until(() => rig.forwarder.status().memoryBytes < 30_000)
      await until(() =>
        rig.forwarder.status().lanes.some(({ topic, queuedMessages }) => topic === 'bad' && queuedMessages > 0),
      )
      expect(rig.forwarder.status().lanes).toMatchObject([{ topic: 'bad', queuedMessages: 1 }, { queuedMessages: 40 }])
      lift()
      broker.release()
      await rig.finished()
      expect(kept(broker, 'bad')).toEqual(range(100, 1))
    })
  })

  test('holds no more memory, nor files open, when a hundred such topics recover at once', async () => {
    const broker = new FakeBroker()
    const options = { ...tight, laneBytesMax: 40_000, memoryBytesMax: 60_000 }
    await withRig(broker, options, async (rig) => {
      const lift = broker.rule((topic) => (topic === 'good' ? undefined : blocked))
      let filesMax = 0
      const memory = watchMemory(rig, () => {
        filesMax = Math.max(filesMax, rig.life.openFiles.size)
      })
      for (const _ of range(20)) await rig.publish(...range(100).map((i) => message(`bad-${i}`, payload(400))))
      await rig.publish(message('good'))
      await until(() => kept(broker, 'good').length === 1)
      // They may be sent again, but it takes a while: each lane that could hold something does.
      const recovered = new Set<string>()
      const speedUp = broker.rule((topic) => {
        if (recovered.has(topic)) return 'hang'
        recovered.add(topic)
        return undefined
      })
      lift()
      await until(() => recovered.size >= 100)
      await sleep(100)
      speedUp()
      broker.release()
      await rig.finished()
      for (const t of range(100)) expect(kept(broker, `bad-${t}`)).toEqual(range(20).map((i) => i * 100 + t + 1))
      // Beyond the limit there is a block of the head's, or one record for each lane to try with.
      expect(memory()).toBeLessThan(60_000 + 100 * 600)
      // Three journals' segments, the cursor, the head's reader, and those of lanes that read back.
      expect(filesMax).toBeLessThan(20)
    })
  })

  test('whose sends hang is passed by the others, although nobody else has anything to send before', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { ...tight, sendTimeout: 60_000 }, async (rig) => {
      broker.next(1000, 'hang', 'slow')
      await rig.publish(...range(50).map(() => message('slow', payload(500))))
      await rig.publish(message('quick'))
      await until(() => kept(broker, 'quick').length === 1, 10_000)
      broker.release()
      await sleep(1)
      expect(kept(broker, 'slow').length).toBeGreaterThan(0)
    })
  })

  test('and fails in a way that opens the breaker does not keep the others away for good', async () => {
    const broker = new FakeBroker()
    await withRig(broker, tight, async (rig) => {
      broker.fail(away, 'bad')
      await rig.publish(...range(50).map(() => message('bad', payload(500))))
      await until(() => rig.forwarder.status().breaker !== 'closed')
      await rig.publish(message('good'))
      await until(() => kept(broker, 'good').length === 1, 10_000)
      expect(kept(broker, 'bad')).toEqual([])
    })
  })
})

test('with the broker away, memory stays bounded and nothing is read on', async () => {
  const broker = new FakeBroker()
  const options = { laneBytesMax: 10_000, memoryBytesMax: 40_000, breakerFailures: 2 }
  await withRig(broker, options, async (rig) => {
    const lift = broker.fail(away)
    const memory = watchMemory(rig)
    for (const round of range(100))
      await rig.publish(...range(10).map((i) => message(`t${(round + i) % 8}`, payload(500))))
    await until(() => rig.forwarder.status().memoryBytes > 40_000 || rig.forwarder.status().lanes.length === 8)
    await sleep(50)
    expect(memory()).toBeLessThan(40_000 + 10 * 700)
    lift()
    await rig.finished()
    expect(range(8).flatMap((t) => kept(broker, `t${t}`))).toHaveLength(1000)
    expect(rig.forwarder.status().memoryBytes).toBe(0)
  })
})

test('an error that is no BrokerError is a bug: it ends forwarding, and nothing is taken for delivered', async () => {
  const bug = new TypeError('undefined is not a function')
  const broker: Broker = { send: () => Promise.reject(bug), close: async () => {} }
  await withRig(broker, {}, async (rig) => {
    await rig.publish(message('t'))
    await expect(rig.forwarder.failed).rejects.toBe(bug)
    await sleep(30)
    expect(rig.passed.every((seq) => seq === 1)).toBe(true)
  })
})

test('a broker that tells of fewer places than it got messages is a bug as well', async () => {
  const broker: Broker = { send: async () => ({ partitions: [0], offsets: [7] }), close: async () => {} }
  await withRig(broker, {}, async (rig) => {
    await rig.publish(message('t'), message('t'))
    await expect(rig.forwarder.failed).rejects.toThrow(/places/)
  })
})

/** The most memory that the status showed, every millisecond. */
function watchMemory(rig: Rig, also: () => void = () => {}): () => number {
  let max = 0
  const look = (): void => {
    max = Math.max(max, rig.forwarder.status().memoryBytes)
    also()
    if (!rig.isClosed) setTimeout(look, 1)
  }
  look()
  return () => max
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
