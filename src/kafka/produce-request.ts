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
          pieces: () => encodeProduce(args),
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

/** The batches are not copied: each stands for itself, behind what introduces it. */
function encodeProduce({ acks, timeoutMs, batches }: ProduceArguments): Buffer[] {
  const topics = Map.groupBy(batches, ({ topic }) => topic)
  const prelude = Buffer.alloc(2 + 2 + 4 + 4)
  prelude.writeInt16BE(-1, 0)
  prelude.writeInt16BE(acks === 'all' ? -1 : 1, 2)
  prelude.writeInt32BE(timeoutMs, 4)
  prelude.writeInt32BE(topics.size, 8)
  const pieces: Buffer[] = [prelude]
  for (const [topic, ofTopic] of topics) {
    const length = Buffer.byteLength(topic)
    const introduction = Buffer.alloc(2 + length + 4)
    introduction.writeInt16BE(length, 0)
    introduction.write(topic, 2)
    introduction.writeInt32BE(ofTopic.length, 2 + length)
    pieces.push(introduction)
    for (const { partition, bytes } of ofTopic) {
      const beginning = Buffer.alloc(8)
      beginning.writeInt32BE(partition, 0)
      beginning.writeInt32BE(bytes.length, 4)
      pieces.push(beginning, bytes)
    }
  }
  return pieces
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
