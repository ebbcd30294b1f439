// The script of the merchant's demo page: make a Session, run the flow, show what came back.
// It promises to show an error in words where one occurs. It refuses to hold a key other than the publishable one.

const form = document.getElementById('demo');
const link = document.getElementById('link');
const problem = document.getElementById('problem');
const events = document.getElementById('events');
/** Where this tab remembers the Session that it sent a person away with. */
const SESSION_SLOT = 'linkspan-demo-session';

async function request(address, options = {}) {
  const response = await fetch(address, { ...options, signal: AbortSignal.timeout(20_000) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? `The server answered ${response.status}.`);
  return answer;
}

/** What the form asks for, without its empty fields and without what only this page needs to know. */
function parameters() {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value && name !== 'presentation') fields.append(name, value);
  }
  return fields;
}

async function linkAccount() {
  showProblem('');
  events.replaceChildren();
  const isFullPage = form.elements.presentation.value === 'page';
  const fields = parameters();
  if (isFullPage) fields.set('return_url', `${window.location.origin}/demo?returned`);
  const session = await request('/demo/sessions', { method: 'POST', body: fields });
  if (isFullPage) {
    window.sessionStorage.setItem(SESSION_SLOT, session.id);
    window.location.assign(session.hosted_auth_url);
    return;
  }
  const stripe = window.Stripe(session.publishable_key ?? document.body.dataset.publishableKey, { onEvent: addEvent });
  const { error } = await stripe.collectFinancialConnectionsAccounts({ clientSecret: session.client_secret });
  if (error) throw new Error(error.message);
  await showSession(session.id);
}

function addEvent({ name, metadata }) {
  const detail = Object.entries(metadata).map(([key, value]) => ` ${key}: ${value}`).join(',');
  const item = document.createElement('li');
  item.textContent = name + detail;
  events.append(item);
  document.getElementById('events-box').hidden = false;
}

/** The Session as the secret key sees it, which is what a merchant's server would act on. */
async function showSession(id) {
  const session = await request(`/demo/sessions/${encodeURIComponent(id)}`);
  const accounts = session.accounts?.data ?? [];
  document.getElementById('summary').textContent = accounts.length === 0 ? 'No account was linked.'
    : `${accounts.length} ${accounts.length === 1 ? 'account was' : 'accounts were'} linked.`;
  document.getElementById('accounts').replaceChildren(...accounts.map(accountItem));
  const json = document.getElementById('json');
  json.textContent = JSON.stringify(session, null, 2);
  json.hidden = false;
}

function accountItem(account) {
  const item = document.createElement('li');
  const name = document.createElement('b');
  name.textContent = `${account.display_name ?? 'Account'} ${account.last4 ? `•••• ${account.last4}` : ''}`;
  const detail = document.createElement('span');
  const kind = [account.category, account.subcategory].filter(Boolean).join(' / ');
  detail.textContent = `${account.institution_name} · ${kind} · ${account.status}`;
  item.append(name, detail);
  return item;
}

function showProblem(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

/** A prefetch is only offered where its permission is given. */
function matchPrefetch() {
  for (const prefetch of form.querySelectorAll('[data-needs]')) {
    const permission = form.querySelector(`[name="permissions[]"][value="${prefetch.dataset.needs}"]`);
    prefetch.disabled = !permission.checked;
    if (prefetch.disabled) prefetch.checked = false;
  }
}

async function run(work) {
  link.disabled = true;
  try {
    await work();
  } catch (error) {
    showProblem(error.message);
  } finally {
    link.disabled = false;
    link.focus();
  }
}

form.addEventListener('change', matchPrefetch);
form.addEventListener('submit', (event) => {
  event.preventDefault();
  run(linkAccount);
});

matchPrefetch();
// Back from the full page: the address says only that, and this tab knows of which Session.
const returned = new URLSearchParams(window.location.search).has('returned');
const awaited = window.sessionStorage.getItem(SESSION_SLOT);
if (returned && awaited) run(() => showSession(awaited));
