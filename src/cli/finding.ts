/** What came of asking one of several for something: what it knows, that it knows nothing, or why it could not be asked. */
export type Finding<T> =
  | { readonly kind: 'known'; readonly known: T }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'not_asked'; readonly why: string }
