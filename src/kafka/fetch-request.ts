import { requests } from 'kafkajs/src/protocol/requests/index.js'
import type { Exchange, RequestDefinition } from 'kafkajs/src/protocol/requests/index.js'
import { ByteReader } from './byte-reader.ts'
import type { AbortedTransaction } from './record-batch.ts'

export interface FetchArguments {
  readonly topic: string
  readonly partitions: readonly { readonly partition: number; readonly fetchOffset: number }[]
  /** How long the broker may wait for something to come, in milliseconds. */
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly partitionMaxBytes: number
}

export interface FetchedPartition {
  readonly partition: number
  readonly errorCode: number
  readonly abortedTransactions: readonly AbortedTransaction[]
  /** Record batches, the last of them perhaps cut off. */
  readonly batches: Buffer
}

export const readCommitted = 1

/**
 * Fetch (https://kafka.apache.org/protocol#The_Messages_Fetch): kafkajs's request, and an answer that keeps each
 * partition's error by itself and leaves the record batches as they are.
 */
export const fetchRequest: RequestDefinition<FetchArguments, FetchedPartition[]> = {
  versions: requests.Fetch.versions.filter((version) => Number(version) >= 4),
  protocol(choice) {
    const create = requests.Fetch.protocol(choice)
    return ({ topic, partitions, maxWaitMs, maxBytes, partitionMaxBytes }): Exchange<FetchedPartition[]> => {
      const { request, requestTimeout } = create({
        isolationLevel: readCommitted,
        maxWaitTime: maxWaitMs,
        minBytes: 1,
        maxBytes,
        topics: [{ topic, partitions: partitions.map((wanted) => ({ ...wanted, maxBytes: partitionMaxBytes })) }],
      })
      let fetched: FetchedPartition[] = []
      return {
        request,
        ...(requestTimeout === undefined ? {} : { requestTimeout }),
        response: {
          decode: async (data) => {
            const reader = new ByteReader(data)
            const clientSideThrottleTime = reader.int32()
            fetched = decodeFetched(reader, request.apiVersion)
            return request.apiVersion >= 8 ? { clientSideThrottleTime } : {}
          },
          parse: async () => fetched,
        },
      }
    }
  },
}

function decodeFetched(reader: ByteReader, version: number): FetchedPartition[] {
  // Since version 7: an error of the session, which we have none of, and the session's id.
  if (version >= 7) reader.bytes(6)
  return reader
    .array(() => {
      reader.string()
      return reader.array(() => {
        const partition = reader.int32()
        const errorCode = reader.int16()
        // High watermark, last stable offset; since version 5 also the log's start offset.
        reader.bytes(version >= 5 ? 24 : 16)
        const abortedTransactions = reader.array(() => ({ producerId: reader.int64(), firstOffset: reader.long() }))
        if (version >= 11) reader.int32()
        return { partition, errorCode, abortedTransactions, batches: reader.bytes(Math.max(0, reader.int32())) }
      })
    })
    .flat()
}
