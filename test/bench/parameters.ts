/** What a run measures, and for how long. */
export interface Parameters {
  readonly valueBytes: number
  readonly rounds: number
  /** Of one measurement. */
  readonly seconds: number
  readonly warmUpSeconds: number
  readonly connections: readonly number[]
  /** Over the Unix socket. */
  readonly unixConnections: number
  /** NDJSON requests. */
  readonly batches: readonly number[]
  readonly batchConnections: number
  /** Of the bare producer. */
  readonly inFlight: readonly number[]
  readonly idleSeconds: number
  readonly backlogBytes: number
  readonly backlogValueBytes: number
  readonly restarts: number
  /** How long a Kafka that was just started is warmed. */
  readonly kafkaWarmUpSeconds: number
}

const MiB = 1024 * 1024

export const fullParameters: Parameters = {
  valueBytes: 200,
  rounds: 3,
  seconds: 3,
  warmUpSeconds: 3,
  connections: [1, 16, 64, 256],
  unixConnections: 64,
  batches: [100, 1000],
  batchConnections: 4,
  inFlight: [1, 5],
  idleSeconds: 10,
  backlogBytes: 2048 * MiB,
  backlogValueBytes: 2048,
  restarts: 5,
  kafkaWarmUpSeconds: 20,
}

/** Shows that everything works, and roughly how fast. */
export const quickParameters: Parameters = {
  ...fullParameters,
  rounds: 1,
  seconds: 1,
  warmUpSeconds: 1,
  connections: [1, 64],
  inFlight: [1],
  idleSeconds: 3,
  backlogBytes: 256 * MiB,
  restarts: 2,
  kafkaWarmUpSeconds: 3,
}

/** Bytes that a run needs on disk: Kafka's and Outrigger's copy of everything, which goes only after a while. */
export function diskBytesNeeded(parameters: Parameters): number {
  return 4096 * MiB + parameters.backlogBytes * 3
}
