import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { OutgoingMessage } from '../../src/forwarder/broker.ts'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { FakeBroker } from '../forwarder/fake-broker.ts'
import type { Rig } from '../forwarder/rig.ts'
import { message, seqOf, withRig } from '../forwarder/rig.ts'

/** What the broker makes of the sends of one topic, over and over. */
const tempering = fc.array(fc.constantFrom('ok', 'ok', 'transient', 'blocked', 'slow'), { minLength: 1, maxLength: 6 })
const publishing = fc.record({
  topic: fc.nat(5),
  sizes: fc.array(fc.oneof(fc.nat(60), fc.nat(1500)), { minLength: 1, maxLength: 12 }),
  pauseMs: fc.constantFrom(0, 0, 0, 2),
})
const limits = fc.record({
  batchMessagesMax: fc.integer({ min: 1, max: 10 }),
  batchBytesMax: fc.constantFrom(300, 2000, 900_000),
  laneBytesMax: fc.constantFrom(400, 1500, 6000),
  memoryBytesMax: fc.constantFrom(800, 3000, 12_000),
  checkpointInterval: fc.constantFrom(1, 10),
})

/** More with the environment variable, for a long look. */
const numRuns = Number(process.env['FORWARDER_MODEL_RUNS'] ?? 30)

test(
  'property: whatever fails, and however small the limits: all is delivered once, in order, and memory is bounded',
  { timeout: 60_000 + numRuns * 1000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(publishing, { minLength: 1, maxLength: 60 }),
        fc.array(tempering, { minLength: 6, maxLength: 6 }),
        limits,
        async (publishings, tempers, options) => {
          const broker = new MoodyBroker(tempers)
          await withRig(
            broker,
            { ...options, segmentBytes: 160 * 1024, retryDelay: 1, retryDelayMax: 3 },
            async (rig) => {
              broker.rig = rig
              const expected = new Map<string, number[]>()
              let blockBytesMax = 0
              for (const { topic, sizes, pauseMs } of publishings) {
                const name = `t${topic}`
                const first = await rig.publish(...sizes.map((size) => message(name, Buffer.alloc(size))))
                expected.set(name, [...(expected.get(name) ?? []), ...sizes.map((_, i) => first + i)])
                blockBytesMax = Math.max(
                  blockBytesMax,
                  sizes.reduce((sum, size) => sum + size + recordBytes, 0),
                )
                await rig.life.clock.sleep(pauseMs)
              }
              await rig.finished(15_000)
              expect(broker.delivered).toEqual(expected)
              // What may be held, what the head was just reading, and something to try with for each lane.
              expect(broker.memoryMax).toBeLessThanOrEqual(
                options.memoryBytesMax + blockBytesMax + 6 * (1500 + recordBytes),
              )
              expect(rig.forwarder.status()).toMatchObject({ backlogMessages: 0, memoryBytes: 0, lanes: [] })
            },
          )
        },
      ),
      { numRuns },
    )
  },
)

/** More than a message without key costs beside its value, on disk and in memory. */
const recordBytes = 160

class MoodyBroker extends FakeBroker {
  /** Seqs by topic, as they were acknowledged. */
  readonly delivered = new Map<string, number[]>()
  memoryMax = 0
  rig: Rig | undefined
  readonly #tempers: readonly (readonly string[])[]
  readonly #sends = new Map<string, number>()

  constructor(tempers: readonly (readonly string[])[]) {
    super()
    this.#tempers = tempers
  }

  override async send(topic: string, messages: readonly OutgoingMessage[], signal: AbortSignal) {
    this.memoryMax = Math.max(this.memoryMax, this.rig?.forwarder.status().memoryBytes ?? 0)
    const count = this.#sends.get(topic) ?? 0
    this.#sends.set(topic, count + 1)
    const temper = this.#tempers[Number(topic.slice(1))] ?? ['ok']
    // At last it is in a good mood.
    const mood = count < 40 ? temper[count % temper.length] : 'ok'
    if (mood === 'transient') throw new BrokerError('transient', 'ECONNRESET', 'moody')
    if (mood === 'blocked') throw new BrokerError('blocked', 'NO_LEADER', 'moody')
    if (mood === 'slow') await new Promise((resolve) => setTimeout(resolve, 3))
    const places = await super.send(topic, messages, signal)
    this.delivered.set(topic, [...(this.delivered.get(topic) ?? []), ...messages.map(seqOf)])
    return places
  }
}
