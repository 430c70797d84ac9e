/** What a model of a link knows of its conversations, as protocol/backplane/link.ts does. */
import type { Conversation, Link } from '../../src/protocol/backplane/link.ts';

export class Conversations {
  readonly conversations = new Map<number, Conversation>();
  #nextId: number;

  /** The end that has dialled counts by odd numbers, the other by even ones. */
  constructor(isDialler: boolean) {
    this.#nextId = isDialler ? 1 : 2;
  }

  /** As the code under test knows it. */
  get link(): Link {
    return this as unknown as Link;
  }

  openConversation(conversation: Conversation): number {
    const id = this.#nextId;
    this.#nextId += 2;
    this.conversations.set(id, conversation);
    return id;
  }

  takeConversation(id: number, conversation: Conversation): void {
    this.conversations.set(id, conversation);
  }

  conversationOf(id: number): Conversation | null {
    return this.conversations.get(id) ?? null;
  }

  closeConversation(id: number): void {
    this.conversations.delete(id);
  }
}
