// Talks with the server: the token of the address, answers, and events that are kept until they are saved.

const NEVER = new Set([404, 409, 413, 415, 422]); // an event that was refused so is refused again

export let token = history.state?.token ?? null;

/** The token comes in the address' fragment and leaves it at once. The tab keeps it for a reload, in no storage. */
export function takeToken() {
  const given = location.hash.slice(1);
  if (!given) return;
  token = given;
  history.replaceState({ token, rank: history.state?.rank ?? null }, "", location.pathname);
}
takeToken();

export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { "X-Token": token, ...options.headers } });
  if (answer.ok) return answer;
  const text = await answer.text();
  let sentence = text;
  try {
    sentence = JSON.parse(text).error ?? text;
  } catch {
    // a plain sentence
  }
  if (answer.status === 403) sentence = "this review has ended or was started again; open the address that it printed";
  throw new Refusal(answer.status, sentence || `error ${answer.status}`);
}

export const caseAt = (name) => `/api/case/${encodeURIComponent(name)}`;
export const getJson = async (path) => (await ask(path)).json();
export const getBlob = async (path) => (await ask(path)).blob();
export const getBytes = async (path, signal) => {
  const answer = await ask(path, { signal });
  return { bytes: await answer.arrayBuffer(), bands: Number(answer.headers.get("X-Bands") ?? 1) };
};
export const post = async (path, content) => {
  const headers = { "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(content) })).json();
};

/** Events on their way, in order and one at a time; each stays until the server has written it, or has said never. */
export class Outbox {
  waiting = [];
  trouble = "";
  #busy = false;
  #wake = null;

  constructor({ saved, refused, changed }) {
    Object.assign(this, { saved, refused, changed });
    addEventListener("beforeunload", (event) => this.waiting.length && event.preventDefault());
    addEventListener("online", () => this.retry());
  }

  put(name, event) {
    const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
    this.waiting.push({ name, event: { ...event, key } });
    this.#send();
  }

  retry() {
    this.#wake?.();
  }

  async #send() {
    if (this.#busy) return;
    this.#busy = true;
    for (let wait = 1; this.waiting.length; this.changed()) {
      const { name, event } = this.waiting[0];
      this.changed();
      try {
        const answer = await post(`${caseAt(name)}/events`, event);
        this.#settle();
        wait = 1;
        this.saved(name, event, answer);
      } catch (error) {
        if (NEVER.has(error.status)) {
          this.#settle();
          this.refused(name, event, error.message);
        } else {
          this.trouble = error instanceof Refusal ? error.message : "the server does not answer";
          this.changed();
          await this.#pause(wait);
          wait = Math.min(2 * wait, 30);
        }
      }
    }
    this.#busy = false;
  }

  #settle() {
    this.waiting.shift();
    this.trouble = "";
  }

  #pause(seconds) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, 1000 * seconds);
    });
  }
}
