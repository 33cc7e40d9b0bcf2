/* Holds a state, changes it through a reducer, and tells its listeners, once for all changes of
   a moment. */

export class Store {
  constructor(reduce, state) {
    this.reduce = reduce;
    this.state = state;
    this.listeners = new Set();
    this.due = false;
    this.dispatch = this.dispatch.bind(this);
  }

  dispatch(action) {
    const next = this.reduce(this.state, action);
    if (next === this.state) return;
    this.state = next;
    if (this.due) return;
    this.due = true;
    // A microtask, not an animation frame: hidden tabs have no frames, and titles must change.
    queueMicrotask(() => {
      this.due = false;
      for (const listener of this.listeners) listener(this.state);
    });
  }

  subscribe(listener) {
    this.listeners.add(listener);
    listener(this.state);
  }
}
