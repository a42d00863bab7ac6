/** What one side puts in as it comes, and the other takes out with `for await`. */

interface Taker<Item> {
  resolve: (result: IteratorResult<Item, undefined>) => void;
  reject: (error: unknown) => void;
}

export class Channel<Item> implements AsyncIterableIterator<Item, undefined> {
  private items: Item[] = [];
  private takers: Taker<Item>[] = [];
  private over = false;
  private failure: { error: unknown } | undefined;

  /** `leave` is called when the taker breaks off its loop, which goes on when it resolves. */
  constructor(private readonly leave: () => Promise<unknown>) {}

  put(item: Item): void {
    if (this.over) return;
    const taker = this.takers.shift();
    if (taker) taker.resolve({ value: item, done: false });
    else this.items.push(item);
  }

  /** There is nothing more to come; what is in it can still be taken. */
  end(failure?: { error: unknown }): void {
    if (this.over) return;
    this.over = true;
    const [first, ...rest] = this.takers.splice(0);
    if (failure && first) first.reject(failure.error);
    else {
      this.failure = failure;
      first?.resolve({ value: undefined, done: true });
    }
    for (const { resolve } of rest) resolve({ value: undefined, done: true });
  }

  next(): Promise<IteratorResult<Item, undefined>> {
    const [item] = this.items;
    if (this.items.length > 0) {
      this.items.shift();
      return Promise.resolve({ value: item as Item, done: false });
    }
    const { failure } = this;
    this.failure = undefined;
    if (failure) return Promise.reject(failure.error);
    if (this.over) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.takers.push({ resolve, reject }));
  }

  async return(): Promise<IteratorResult<Item, undefined>> {
    this.items = [];
    this.end();
    await this.leave();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
