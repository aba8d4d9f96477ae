/** What the operator's listener answers, when it is no problem. */
export interface Reply {
  readonly status: number
  /** Null without a body. */
  readonly type: string | null
  readonly body: string | Buffer
  /** Names and values in turn, beside those that every reply has. */
  readonly headers?: readonly string[]
}

export function textReply(status: number, body: string): Reply {
  return { status, type: 'text/plain; charset=utf-8', body }
}

export function jsonReply(value: unknown): Reply {
  return { status: 200, type: 'application/json', body: `${JSON.stringify(value, null, 2)}\n` }
}
