import type { Exchange, RequestDefinition } from 'kafkajs/src/protocol/requests/index.js'

/**
 * The same request, with its answer as it came: kafkajs throws away the whole answer when one topic of it has an error,
 * so that a topic that was deleted would blind all the others.
 */
export function unchecked<Arguments, Answer>(
  definition: RequestDefinition<Arguments, Answer>,
): RequestDefinition<Arguments, Answer> {
  return {
    versions: definition.versions,
    protocol(choice) {
      const create = definition.protocol(choice)
      return (args): Exchange<Answer> => {
        const exchange = create(args)
        const { response } = exchange
        return {
          ...exchange,
          response: { decode: (data) => response.decode(data), parse: async (decoded) => decoded as Answer },
        }
      }
    },
  }
}
