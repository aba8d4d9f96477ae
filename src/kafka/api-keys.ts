/** The requests that are made, by their numbers in Kafka's protocol. */
export const apiKeys = {
  produce: 0,
  fetch: 1,
  listOffsets: 2,
  metadata: 3,
  createTopics: 19,
  initProducerId: 22,
} as const
