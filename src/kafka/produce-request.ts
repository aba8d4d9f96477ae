import type { Exchange, RequestDefinition } from 'kafkajs/src/protocol/requests/index.js'
import { apiKeys } from './api-keys.ts'
import { ByteReader } from './byte-reader.ts'

export interface ProduceArguments {
  readonly acks: 'all' | 'leader'
  /** How long the leader may wait for its replicas, in milliseconds. */
  readonly timeoutMs: number
  /** A partition may stand in it only once. */
  readonly batches: readonly { readonly topic: string; readonly partition: number; readonly bytes: Buffer }[]
}

export interface PartitionAnswer {
  readonly topic: string
  readonly partition: number
  /** 0 is success. */
  readonly errorCode: number
  readonly baseOffset: number
}

/**
 * Produce, versions 3 to 7 (https://kafka.apache.org/protocol#The_Messages_Produce). Own code, because kafkajs's gives
 * the first error alone and not which partition it belongs to: one partition's trouble would fail, and repeat, them all.
 */
export const produceRequest: RequestDefinition<ProduceArguments, PartitionAnswer[]> = {
  versions: ['3', '4', '5', '6', '7'],
  protocol:
    ({ version }) =>
    (args): Exchange<PartitionAnswer[]> => {
      let answers: PartitionAnswer[] = []
      return {
        request: {
          apiKey: apiKeys.produce,
          apiVersion: version,
          apiName: 'Produce',
          encode: async () => {
            const buffer = encodeProduce(args)
            return { buf: buffer, buffer }
          },
        },
        response: {
          decode: async (data) => {
            const reader = new ByteReader(data)
            answers = decodeAnswers(reader, version)
            const throttleTime = reader.int32()
            // Since version 6, the broker answers at once and expects us to pause (KIP-219).
            return version >= 6 ? { clientSideThrottleTime: throttleTime } : {}
          },
          parse: async () => answers,
        },
      }
    },
}

function encodeProduce({ acks, timeoutMs, batches }: ProduceArguments): Buffer {
  const topics = Map.groupBy(batches, ({ topic }) => topic)
  let size = 2 + 2 + 4 + 4
  for (const [topic, ofTopic] of topics) {
    size += 2 + Buffer.byteLength(topic) + 4
    for (const { bytes } of ofTopic) size += 8 + bytes.length
  }
  const out = Buffer.allocUnsafeSlow(size)
  let at = out.writeInt16BE(-1, 0)
  at = out.writeInt16BE(acks === 'all' ? -1 : 1, at)
  at = out.writeInt32BE(timeoutMs, at)
  at = out.writeInt32BE(topics.size, at)
  for (const [topic, ofTopic] of topics) {
    const length = out.write(topic, at + 2)
    out.writeInt16BE(length, at)
    at = out.writeInt32BE(ofTopic.length, at + 2 + length)
    for (const { partition, bytes } of ofTopic) {
      at = out.writeInt32BE(partition, at)
      at = out.writeInt32BE(bytes.length, at)
      at += bytes.copy(out, at)
    }
  }
  return out
}

function decodeAnswers(reader: ByteReader, version: number): PartitionAnswer[] {
  return reader
    .array(() => {
      const topic = reader.string() ?? ''
      return reader.array(() => {
        const answer = {
          topic,
          partition: reader.int32(),
          errorCode: reader.int16(),
          baseOffset: reader.long(),
        }
        // Append time; since version 5 also the log's start offset.
        reader.bytes(version >= 5 ? 16 : 8)
        return answer
      })
    })
    .flat()
}
