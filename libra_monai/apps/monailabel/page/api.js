// SPDX-License-Identifier: Apache-2.0
// Talks to the server this page came from, and to nothing else. All addresses are relative to this file's folder, so that
// the page also works behind a prefix.

import { credentials, signIn } from "./sign-in.js";

export const BASE = new URL("../", import.meta.url);

/** An answer of the server that is no success; the message is its sentence, which names the remedy. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The JSON answer to a request; `body` is sent as JSON. Throws ServerError. */
export async function ask(method, path, body, signal) {
  const request = { method, signal, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  const answer = await send(path, request);
  return answer.status === 204 ? null : answer.json();
}

/** Files as a form, the JSON answer back. */
export async function upload(path, files) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  return (await send(path, { method: "POST", body: form })).json();
}

/**
 * A picture: `{pixels: Uint16Array, rows, columns, low, high, bits}`; 0 is black.
 * @param id    of the study
 * @param side  pixels of the longer side, at most
 */
export async function picture(id, side, signal) {
  const answer = await send(`pictures/${encodeURIComponent(id)}?side=${side}`, { signal });
  const number = (name) => Number(answer.headers.get(name));
  const raw = await answer.arrayBuffer();
  const [rows, columns] = [number("X-Rows"), number("X-Columns")];
  if (raw.byteLength !== 2 * rows * columns) throw new ServerError(502, "the picture is incomplete. Load it again.");
  return { pixels: littleEndian(raw), rows, columns, low: number("X-Low"), high: number("X-High"), bits: number("X-Bits") };
}

/** A file of the server to the reader's downloads; a plain link could not say who asks. */
export async function download(path, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await send(path, {})).blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

async function send(path, request) {
  let answer;
  const headers = { ...request.headers, ...credentials() };
  try {
    answer = await fetch(new URL(path, BASE), { cache: "no-store", ...request, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, "the server does not answer. Start it again, then press R.");
  }
  if (answer.ok) return answer;
  if (answer.status === 401 && (await signIn())) return send(path, request);
  let detail = null;
  try {
    detail = (await answer.json()).detail;
  } catch {
    // an answer that is no JSON has no sentence for the reader
  }
  throw new ServerError(answer.status, typeof detail === "string" ? detail : `the server answered ${answer.status}.`);
}

function littleEndian(raw) {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Uint16Array(raw);
  const [view, pixels] = [new DataView(raw), new Uint16Array(raw.byteLength / 2)];
  for (let place = 0; place < pixels.length; place++) pixels[place] = view.getUint16(2 * place, true);
  return pixels;
}
