// The service's API as the playground uses it. A refusal is thrown as the problem that the service told.

let key = "";

/** Send this API key from now on. It is kept by this page alone, and only as long as it is open. */
export function useKey(given) {
  key = given;
}

/** The JSON body of the answer; of a ranking {body, timing: {stage: ms}}. */
export async function ask(method, path, body) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  let answer;
  try {
    answer = await fetch(path, body === undefined ? { method, headers } : {
      method, body: JSON.stringify(body), headers: { ...headers, "content-type": "application/json" },
    });
  } catch {
    throw { title: "The service does not answer", detail: "is it still running?" };
  }
  const value = await answer.json().catch(() => null);
  if (!answer.ok) throw value ?? { title: `Status ${answer.status}`, detail: "" };
  if (path !== "/v1/rank") return value;
  return { body: value, timing: stages(answer.headers.get("server-timing") ?? "") };
}

export function describe(problem) {
  const field = problem.field ? `${problem.field} ` : "";
  return `${problem.title ?? "something is wrong with this page"}${problem.detail ? `: ${field}${problem.detail}` : ""}`;
}

function stages(header) {
  const found = {};
  for (const [, stage, milliseconds] of header.matchAll(/(\w+);dur=([\d.]+)/g)) found[stage] = Number(milliseconds);
  return found;
}
