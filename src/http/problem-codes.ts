/**
 * Every code that an HTTP answer of Outrigger can carry: its status, its title (RFC 9457: the same for every occurrence),
 * and whether the very same request may succeed when it is sent again later. docs/errors.md says of each what it means
 * and what to do; a test holds the two together.
 */
export const problemCodes = {
  // What a publisher sent
  malformed_http: { status: 400, title: 'The request is not well-formed HTTP/1.1', retry: false },
  host_missing: { status: 400, title: 'The request has no Host header', retry: false },
  topic_invalid: { status: 400, title: 'The topic name is not valid', retry: false },
  partition_invalid: { status: 400, title: 'The partition is not valid', retry: false },
  timestamp_invalid: { status: 400, title: 'The timestamp is not valid', retry: false },
  key_invalid: { status: 400, title: 'The key is not valid', retry: false },
  header_invalid: { status: 400, title: 'A header of the message is not valid', retry: false },
  parameter_unknown: { status: 400, title: 'A query parameter is not known', retry: false },
  parameter_invalid: { status: 400, title: 'A query parameter is not valid', retry: false },
  parameter_conflict: { status: 400, title: 'The same thing is given twice, with different values', retry: false },
  body_empty: { status: 400, title: 'The body holds no message', retry: false },
  line_invalid: { status: 400, title: 'The line is not a JSON object in UTF-8', retry: false },
  member_unknown: { status: 400, title: 'A member of the line is not known', retry: false },
  member_invalid: { status: 400, title: 'A member of the line is not valid', retry: false },
  origin_not_allowed: { status: 403, title: 'Requests from other web sites are refused', retry: false },
  not_found: { status: 404, title: 'There is no such resource', retry: false },
  message_not_found: { status: 404, title: 'There is no such message', retry: false },
  method_not_allowed: { status: 405, title: 'The resource does not have this method', retry: false },
  request_timeout: { status: 408, title: 'The request did not arrive in time', retry: true },
  stream_idle: { status: 408, title: 'The stream was silent for too long', retry: true },
  length_required: { status: 411, title: 'The request says nothing of its body', retry: false },
  body_too_large: { status: 413, title: 'The body is too large', retry: false },
  message_too_large: { status: 413, title: 'The message is too large', retry: false },
  line_too_long: { status: 413, title: 'The line is too long', retry: false },
  too_many_messages: { status: 413, title: 'The request has too many messages', retry: false },
  target_too_long: { status: 414, title: 'The request target is too long', retry: false },
  media_type_unsupported: { status: 415, title: 'The media type is not supported', retry: false },
  content_encoding_unsupported: { status: 415, title: 'The content encoding is not supported', retry: false },
  expectation_failed: { status: 417, title: 'The expectation can’t be met', retry: false },
  host_not_allowed: { status: 421, title: 'The request is meant for another host', retry: false },
  head_too_large: { status: 431, title: 'The head of the request is too large', retry: false },
  too_many_headers: { status: 431, title: 'There are too many headers', retry: false },

  // What Outrigger can't do
  internal: { status: 500, title: 'Outrigger has failed', retry: true },
  overloaded: { status: 503, title: 'Outrigger holds as much as it may', retry: true },
  draining: { status: 503, title: 'Outrigger is shutting down', retry: true },
  journal_full: { status: 503, title: 'The journal is full', retry: true },
  journal_nearly_full: { status: 503, title: 'The journal has no room for low priority', retry: true },
  topic_share_full: { status: 503, title: 'The topic has used up its share of the journal', retry: true },
  disk_full: { status: 503, title: 'The disk is full', retry: true },
  backlog_too_old: { status: 503, title: 'Messages wait for too long already', retry: true },
  ledger_unavailable: { status: 503, title: 'The ledger can’t be asked', retry: true },
  journal_failed: { status: 503, title: 'The journal can’t be written', retry: true },
} as const satisfies Readonly<
  Record<string, { readonly status: number; readonly title: string; readonly retry: boolean }>
>

/** Stable and machine-readable; documented in docs/errors.md. */
export type ProblemCode = keyof typeof problemCodes
