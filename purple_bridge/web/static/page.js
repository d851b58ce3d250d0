// What a page does beyond HTML: it keeps the accounts current and says what has changed. Everything works without it.
"use strict";

const EVERY = 2000; // milliseconds

const text = (element, value) => {
  if (element && element.textContent !== value) element.textContent = value;
};

// ---- accounts

function updateState(place, account) {
  const state = place.querySelector('[data-field="state"]');
  if (!state) return false;
  const changed = !state.classList.contains(account.state);
  state.className = `state ${account.state}`;
  text(state.querySelector(".sign"), account.sign);
  text(state.querySelector(".word"), account.state_text);
  return changed;
}

function updateAccount(place, account) {
  const changed = updateState(place, account);
  const error = place.querySelector('[data-field="error"]');
  if (error) {
    text(error, account.error);
    error.hidden = !account.error;
  }
  const since = place.querySelector('[data-field="since"]');
  if (since && since.textContent.trim() !== account.since_text) {
    const time = document.createElement(account.since === null ? "span" : "time");
    if (account.since !== null) {
      time.dateTime = account.since;
      time.title = account.since_title;
    }
    time.textContent = account.since_text;
    since.replaceChildren(time);
  }
  for (const name of ["worker", "queued", "retries", "security"]) {
    text(place.querySelector(`[data-field="${name}"]`), account[name]);
  }
  place.classList.toggle("changed", changed);
  return changed ? `${place.dataset.name} is ${account.state_text}` : "";
}

function updatePlot(plot) {
  const figure = document.querySelector(`[data-plot="${plot.name}"]`);
  if (!figure) return;
  text(figure.querySelector("[data-now]"), plot.now);
  figure.querySelector("svg").setAttribute("aria-label", plot.words);
  figure.querySelector(".area").setAttribute("d", plot.area);
  figure.querySelector(".line").setAttribute("d", plot.line);
}

// Other rows than those that are shown: the list comes anew, as the server writes it.
async function replaceList() {
  const answer = await fetch(location.href, { credentials: "same-origin" });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const before = document.querySelector("#accounts tbody");
  const after = fresh.querySelector("#accounts tbody");
  if (!before || !after) return location.reload();
  const focused = document.activeElement.closest("[data-account]");
  before.replaceWith(after);
  if (focused) {
    const again = after.querySelector(`[data-account="${CSS.escape(focused.dataset.account)}"] a`);
    if (again) again.focus();
  }
}

async function updateAccounts(live) {
  const answer = await fetch(live.dataset.live, { credentials: "same-origin" });
  if (answer.status === 401 || answer.status === 404) return location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  const data = await answer.json();
  const places = [...document.querySelectorAll("[data-account]")];
  const known = new Map(data.accounts.map((account) => [String(account.id), account]));
  // a database may give the number of a removed account to the next one
  const isKnown = (place) => known.get(place.dataset.account)?.name === place.dataset.name;
  const same = places.length === known.size && places.every(isKnown);
  if (!same) await replaceList();
  else {
    const news = places.map((place) => updateAccount(place, known.get(place.dataset.account))).filter(Boolean);
    if (news.length) text(document.querySelector("[data-announce]"), news.slice(0, 5).join(". "));
  }
  for (const [state, count] of Object.entries(data.counts)) {
    text(document.querySelector(`[data-count="${state}"]`), String(count));
  }
  data.plots.forEach(updatePlot);
  warn(data.warning);
}

function warn(words) {
  const warning = document.querySelector("[data-warning]");
  if (!warning) return;
  text(warning, words);
  warning.hidden = !words;
}

// ---- a test that runs

async function updateTrial(trial) {
  const answer = await fetch(trial.dataset.trial, { credentials: "same-origin" });
  if (!answer.ok) return location.reload();
  const data = await answer.json();
  if (data.done) return location.reload();
  const list = document.querySelector("[data-steps]");
  for (const step of data.steps.slice(list.children.length)) {
    const item = document.createElement("li");
    item.textContent = step;
    list.append(item);
  }
}

// ---- start

function again(work, every) {
  const next = async () => {
    if (!document.hidden) {
      try {
        await work();
      } catch {
        warn("The gateway does not answer: what is shown may be old.");
      }
    }
    setTimeout(next, every);
  };
  setTimeout(next, every);
}

const live = document.querySelector("[data-live]");
if (live) again(() => updateAccounts(live), EVERY);

const trial = document.querySelector("[data-trial]");
if (trial) again(() => updateTrial(trial), 700);

const errors = document.getElementById("errors");
if (errors) errors.focus();
