// The flow in which a person links a bank account: one pane at a time, each drawn from an answer of the server.
//
// It promises that all state is the server's (a reload resumes), that whoever opened it always learns how it ended,
// that a lost connection gives one retry bar and loses nothing typed, and that the keyboard alone suffices.
// It refuses to talk to another origin, to keep a credential longer than the tab lives, to parse text as HTML, and
// to preselect an account when there is a choice.
//
// Read top to bottom: state, server, drawing, leaving, failures, then the panes in the order in which people meet them.

const REQUEST_TIMEOUT_MS = 20_000;
const FILE_TIMEOUT_MS = 180_000;
const NOT_READY_LIMIT_MS = 180_000;
const SEARCH_DELAY_MS = 250;
const BANK_WINDOW_POLL_MS = 1_500;
const TOKEN_SLOT = 'linkspan-flow-token';
const SIGN_IN_SLOT = 'linkspan-sign-in'; // the AuthSession at a bank's page, which a reload takes up again
const SAME_TAB_SLOT = 'linkspan-flow-left'; // tells the bank's last page that the flow was left in this tab
const TEST_BANK = { routing: '110000000', account: '000123456789' };

const root = document.getElementById('flow');
const stage = document.getElementById('stage');
const actions = document.getElementById('actions');
const notice = document.getElementById('notice');
const backButton = document.getElementById('back');
const closeButton = document.getElementById('close');
const announcer = document.getElementById('announcer');

const flow = {
  embedded: false,
  port: null,
  credential: null, // {key, clientSecret?, account?}
  manifest: null,
  text: null,
  visual: null,
  consented: false,
  institution: null,
  session: null, // the AuthSession at the bank that was chosen
  linked: [], // partner accounts linked since the page was loaded
  retried: new Set(), // '<error code> <institution id>': a try again that was used up
  fatal: null, // the error that no other bank can mend, for whoever opened the flow
  manual: null, // {last4, method} of an account that was entered by hand
  back: null,
  busy: false,
  turn: 0, // counts what was asked for; an older turn that ends late changes nothing
  leaving: false,
  ended: false,
};

// ---------------------------------------------------------------------------------------------------- The server

/** What a request may end in: `unreachable` (try the same again) or an error that the server named. */
class Refusal extends Error {
  constructor(error, unreachable = false) {
    super(error.message ?? 'The request failed.');
    this.error = error;
    this.unreachable = unreachable;
  }

  get extra() {
    return this.error.extra_fields ?? {};
  }
}

function formEncode(parameters) {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (Array.isArray(value)) value.forEach((item) => form.append(`${name}[]`, item));
    else form.append(name, value);
  }
  return form;
}

/** Sends one request; answers `null` where the server says "not ready" (202 with an error body). */
async function send(method, path, parameters, timeout = REQUEST_TIMEOUT_MS) {
  const { key, clientSecret, account } = flow.credential;
  const form = formEncode(clientSecret ? { ...parameters, client_secret: clientSecret } : parameters);
  const headers = { Authorization: `Bearer ${key}` };
  if (account) headers['Stripe-Account'] = account;
  // The one cookie marks the browser that leaves for a bank; nothing else is known by it.
  const request = { method, headers, mode: 'same-origin', credentials: 'same-origin', cache: 'no-store' };
  request.redirect = 'error';
  request.signal = AbortSignal.timeout(timeout);
  if (method === 'POST') request.body = form;
  let response;
  let answer;
  try {
    response = await fetch(method === 'GET' ? `/v1/${path}?${form}` : `/v1/${path}`, request);
    answer = await response.json();
  } catch {
    throw new Refusal({ type: 'api_connection_error', message: 'Linkspan could not be reached.' }, true);
  }
  if (response.status === 202 && answer.error) return null;
  if (response.ok) return answer;
  throw new Refusal(answer.error ?? {}, response.status === 429 || response.status >= 500);
}

/** Sends a request again and again until the server is ready, ever more slowly. */
async function call(method, path, parameters = {}, timeout = REQUEST_TIMEOUT_MS) {
  const deadline = Date.now() + NOT_READY_LIMIT_MS;
  for (let wait = 300; ; wait = Math.min(wait * 1.4, 2_000)) {
    const answer = await send(method, path, parameters, timeout);
    if (answer || flow.ended) return answer ?? {};
    if (Date.now() > deadline) throw new Refusal({ code: 'institution_timeout', message: 'The bank took too long.' });
    await pause(wait);
  }
}

const get = (path, parameters) => call('GET', path, parameters);
const post = (path, parameters, timeout) => call('POST', path, parameters, timeout);
const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));

/** Sends a file; `progress` is told how much of it has left. A client secret does not belong into an address. */
function sendFile(file, parameters, progress) {
  const { key } = flow.credential;
  const token = key.startsWith('fcflow_') ? key : new URL(flow.manifest.hosted_auth_url).searchParams.get('t');
  const request = new XMLHttpRequest();
  request.open('POST', `/v1/connections/auth_sessions/upload?${formEncode(parameters)}`);
  request.setRequestHeader('Authorization', `Bearer ${token}`);
  request.setRequestHeader('Content-Type', 'application/octet-stream');
  request.responseType = 'json';
  request.upload.addEventListener('progress', (event) => progress(event.loaded / event.total));
  return new Promise((resolve, reject) => {
    request.addEventListener('error', () => reject(new Refusal({ type: 'api_connection_error' }, true)));
    request.addEventListener('load', () => {
      if (request.status === 200) return resolve(request.response);
      const unreachable = request.status === 429 || request.status >= 500;
      return reject(new Refusal(request.response?.error ?? {}, unreachable));
    });
    request.send(file);
  });
}

/** Runs what a control asks for: one thing at a time, busy marks while it runs, one retry bar if the network fails. */
async function act(work, control) {
  if (flow.busy || flow.ended) return;
  const turn = ++flow.turn;
  flow.busy = true;
  clearNotice();
  root.setAttribute('aria-busy', 'true');
  control?.classList.add('working');
  try {
    await work();
  } catch (problem) {
    if (!(problem instanceof Refusal)) console.error(problem);
    if (turn !== flow.turn) return;
    if (problem.unreachable) showNotice(() => act(work, control));
    else fail(problem, 'unexpected_error', () => act(work, control));
  } finally {
    control?.classList.remove('working');
    if (turn === flow.turn) settle();
  }
}

function settle() {
  flow.turn += 1;
  flow.busy = false;
  if (!flow.ended) root.setAttribute('aria-busy', 'false');
}

/** Tells the page that opened us; a page at the top level has nobody to tell. */
function tell(message) {
  flow.port?.postMessage(message);
}

function emit(name, metadata = {}) {
  tell({ type: 'event', name, metadata });
}

// ----------------------------------------------------------------------------------------------------- Drawing

/** Builds an element. `on…` attributes are listeners; null, undefined and false are left out. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SHAPES = {
  check: 'M5.5 12.5l4.2 4.2L18.5 8',
  alert: 'M12 7v6.5M12 17v.01',
  file: 'M7 3.5h7l4 4v13H7ZM14 3.5v4h4M12.5 17v-6M10 13.5l2.5-2.5 2.5 2.5',
  bank: 'M4.5 9.5 12 5l7.5 4.5ZM6.5 12.5v5M12 12.5v5M17.5 12.5v5M4.5 20h15',
  clock: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17ZM12 7.5V12l3 2',
  arrow: 'M9.5 5.5 16 12l-6.5 6.5',
  outside: 'M9 6H6v12h12v-3M13 5h6v6M19 5l-8 8',
};

function icon(name, className = '') {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon ${className}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', SHAPES[name]);
  svg.append(path);
  return svg;
}

function button(label, testid, onclick, kind = 'primary') {
  const attributes = { type: 'button', class: `button button-${kind}`, 'data-testid': testid };
  const node = el('button', attributes, el('span', {}, label));
  node.addEventListener('click', () => onclick(node));
  return node;
}

/** An arch with the initials of a name, in one of eight colours that depend on the name alone. */
function monogram(name, className = '') {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const initials = words.slice(0, 2).map((word) => word[0].toUpperCase()).join('');
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 4093;
  return el('span', { class: `monogram tone-${hash % 8} ${className}`, 'aria-hidden': 'true' }, initials || '·');
}

function bankTile() {
  return flow.institution ? monogram(flow.institution.name) : null;
}

/** Replaces the pane, moves the focus to its heading and forgets the retry bar of the pane before. */
function show(pane, { title, mark, lead, body = [], buttons = [], back = null, error = null }) {
  if (flow.ended || flow.leaving) return;
  root.dataset.pane = pane;
  if (error) root.dataset.error = error;
  else delete root.dataset.error;
  flow.back = back;
  backButton.hidden = !back;
  clearNotice();
  announcer.textContent = '';
  const heading = el('h1', { tabindex: '-1' }, title);
  const leads = [lead].flat().filter(Boolean).map((text) => el('p', { class: 'lead' }, text));
  stage.replaceChildren(...[mark, heading, ...leads, ...body].filter(Boolean));
  actions.replaceChildren(...buttons.filter(Boolean));
  document.title = `${title} · Linkspan`;
  window.scrollTo(0, 0);
  heading.focus();
}

function showLoading(title, lead) {
  show('loading', { title, lead, mark: bankTile(), body: [skeletonRows(4)] });
}

function skeletonRows(count) {
  const rows = Array.from({ length: count }, () => el('i'));
  return el('div', { class: 'skeleton skeleton-rows', 'aria-hidden': 'true' }, rows);
}

function showNotice(again) {
  const text = 'Linkspan cannot be reached. Check your connection; nothing you entered is lost.';
  const retry = button('Try again', 'try-again', () => { clearNotice(); again(); }, 'small');
  notice.replaceChildren(el('p', {}, text), retry);
  notice.hidden = false;
  if (document.activeElement?.id !== 'search') retry.focus();
}

function clearNotice() {
  notice.hidden = true;
  notice.replaceChildren();
}

/** Bold and links are all that the server's texts use. A stripe:// link opens a panel in this page. */
function rich(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(/\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g)) {
    nodes.push(text.slice(end, match.index));
    nodes.push(match[1] ? el('strong', {}, rich(match[1])) : richLink(match[2], match[3]));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

function richLink(label, address) {
  const panel = { 'stripe://data-access-notice': openDataNotice, 'stripe://legal-details-notice': openLegalNotice,
    'stripe://manual-entry': enterManually }[address.split('?')[0]];
  if (panel) return el('button', { type: 'button', class: 'link', onclick: () => panel() }, label);
  if (!/^https?:\/\//.test(address)) return label;
  return el('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, label);
}

/** Opens a modal panel over the pane; Escape closes it, and the browser gives the focus back. */
function openSheet({ title, body, buttons }) {
  const heading = el('h2', { id: 'sheet-title', tabindex: '-1' }, title);
  const dialog = el('dialog', { class: 'sheet', 'aria-labelledby': 'sheet-title' }, heading, body,
    el('div', { class: 'sheet-actions' }, buttons));
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => event.target.closest('[data-dismiss]') && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  heading.focus();
}

function sheetButton(label, testid, kind, onclick = () => {}) {
  const node = button(label, testid, onclick, kind);
  node.dataset.dismiss = '';
  return node;
}

function business() {
  return flow.manifest?.business_name || 'this business';
}

function plural(count, one, many) {
  return count === 1 ? one : many;
}

// ----------------------------------------------------------------------------------------------------- Leaving

const PANES_WITH_PROGRESS = ['institution_picker', 'partner_auth', 'account_picker', 'manual_entry'];

/** The X and Escape. Asks once where something would be lost. */
function requestClose() {
  if (flow.ended || document.querySelector('dialog[open]')) return;
  const loses = PANES_WITH_PROGRESS.includes(root.dataset.pane) && flow.consented && !flow.manifest?.accounts_linked;
  const atBank = root.dataset.pane === 'loading' && flow.session;
  if (!loses && !atBank) return leave();
  openSheet({
    title: 'Leave without connecting?',
    body: el('p', {}, `Nothing has been connected to ${business()} yet. If you leave now, you start over next time.`),
    buttons: [sheetButton('Stay here', 'exit-stay', 'primary'), sheetButton('Leave', 'exit-leave', 'quiet', leave)],
  });
}

async function leave() {
  if (flow.fatal || !flow.credential) {
    return end({ type: 'failed', error: flow.fatal }, flow.manifest?.cancel_url);
  }
  flow.leaving = true;
  settle();
  return act(() => finish(), closeButton);
}

/** Completes the session, which is idempotent, and goes back to whoever opened the flow. */
async function finish(parameters = {}) {
  let session;
  try {
    session = await post('link_account_sessions/complete', parameters);
  } catch (problem) {
    if (problem.unreachable) throw problem;
    return end({ type: 'failed', error: problem.error }, flow.manifest?.cancel_url);
  }
  const manual = session.payment_account && !session.accounts?.data?.length;
  if (session.accounts?.data?.length || manual || session.bank_account_token) {
    emit('success', { manualEntry: Boolean(manual) });
    return end({ type: 'closed' }, flow.manifest?.success_url);
  }
  emit('cancel');
  return end({ type: 'closed' }, flow.manifest?.cancel_url);
}

function end(message, address) {
  flow.ended = true;
  root.setAttribute('aria-busy', 'true');
  if (flow.embedded) return setTimeout(tell, 0, message); // the library removes this frame: let the click end first
  withStorage((storage) => [TOKEN_SLOT, SIGN_IN_SLOT].forEach((slot) => storage.removeItem(slot)));
  const unsafe = !address || /^\s*(javascript|data|file|blob):/i.test(address);
  return window.location.assign(unsafe ? '/flow/done' : address);
}

// ---------------------------------------------------------------------------------------------------- Failures

/** One row per case of the error table. `again` says that one more try may help; `final` that no bank will. */
const FAILURES = {
  institution_unavailable_planned: {
    title: (bank) => `${bank} is down for maintenance`,
    text: (bank, extra) => [`${bank} has told us that it is working on its systems. `, availableAgain(extra),
      chooseOther()],
  },
  institution_unavailable_unplanned: {
    title: (bank) => `${bank} is not available right now`,
    text: (bank) => [`We cannot reach ${bank} at the moment, and it has not said when it will be back. `,
      chooseOther()],
  },
  no_debitable_account: {
    title: () => 'No account here can be used',
    text: (bank, extra) => [noEligible(bank, extra), chooseOther()],
  },
  accounts_unavailable: {
    title: () => 'Your accounts could not be loaded',
    text: (bank) => [`You signed in, but ${bank} did not give us a list of accounts. `, chooseOther()],
    again: true,
  },
  account_numbers_unavailable: {
    title: () => 'The account number could not be read',
    text: (bank) => [`${bank} did not give us the account number that ${business()} needs. `, chooseOther()],
  },
  authorization_failed: {
    title: (bank) => `${bank} did not let you in`,
    text: (bank) => [`The sign-in at ${bank} was refused, so nothing was shared. `, chooseOther()],
    again: true,
  },
  institution_timeout: {
    title: (bank) => `${bank} is taking too long`,
    text: () => ['We waited for an answer and none came. ', chooseOther()],
    again: true,
  },
  session_expired: {
    title: () => 'This page has expired',
    text: () => ['The link to connect an account was already used or is too old. Go back to the page that you came ',
      'from and start again.'],
    final: true,
  },
  unexpected_error: {
    title: () => 'Something went wrong',
    text: () => ['Linkspan could not go on, and nothing more was shared. ', flow.manifest ? chooseOther() : ''],
    again: true,
  },
};

function chooseOther() {
  return flow.manifest?.allow_manual_entry ? 'You can choose another bank or enter your account details by hand.'
    : 'You can choose another bank, or come back later.';
}

function availableAgain({ expected_to_be_available_at: at }) {
  const when = new Date(Number(at) * 1000);
  const format = { weekday: 'long', month: 'long', day: 'numeric', hour: 'numeric', minute: '2-digit',
    timeZoneName: 'short' };
  return el('span', {}, 'It should be back by ',
    el('time', { datetime: when.toISOString() }, when.toLocaleString('en', format)), '. ');
}

function noEligible(bank, extra) {
  const count = Number(extra.total_accounts_count ?? 0);
  if (!count) return `${bank} has no account of yours that ${business()} accepts. `;
  return `We found ${count} ${plural(count, 'account', 'accounts')} at ${bank}, but ${business()} cannot accept
    ${plural(count, 'it', 'any of them')}. `;
}

/** Names the case from what the server sent; `fallback` is what the step itself stands for. */
function failureCode({ error, extra }, fallback) {
  if (error.code === 'session_expired') return 'session_expired';
  if (extra.institution_unavailable) {
    return `institution_unavailable_${extra.expected_to_be_available_at ? 'planned' : 'unplanned'}`;
  }
  if (extra.reason === 'no_supported_payment_method_type_accounts_found') return 'no_debitable_account';
  if (extra.reason === 'account_number_retrieval_failed') return 'account_numbers_unavailable';
  if (Object.hasOwn(FAILURES, extra.reason ?? '')) return extra.reason;
  if (Object.hasOwn(FAILURES, error.code ?? '')) return error.code;
  return emittedCode(extra.events_to_emit) ?? fallback;
}

function emittedCode(events) {
  try {
    const code = JSON.parse(events)[0].error.error_code;
    return Object.hasOwn(FAILURES, code) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** Draws the error pane: the cause, then another bank, one more try, entry by hand, close. */
function fail(problem, fallback, again) {
  if (problem.unreachable) return showNotice(again);
  const refusal = problem instanceof Refusal ? problem : new Refusal({ type: 'api_error', message: String(problem) });
  const code = failureCode(refusal, fallback);
  const bank = flow.institution?.name ?? 'Your bank';
  emit('error', { errorCode: code });
  if (FAILURES[code].final || !flow.manifest) flow.fatal = refusal.error;
  const drawn = refusal.extra.use_generic_error_pane ? refusal.extra : {};
  const lead = drawn.generic_error_pane_subheading ?? el('span', {}, FAILURES[code].text(bank, refusal.extra));
  return show('unexpected_error', {
    error: code,
    mark: failureMark(code),
    title: drawn.generic_error_pane_heading ?? FAILURES[code].title(bank),
    lead,
    body: [flow.manifest?.livemode === false
      && el('p', { class: 'diagnosis' }, el('b', {}, 'Test mode detail: '), refusal.message)],
    buttons: failureButtons(code, again, drawn.generic_error_pane_primary_cta),
  });
}

function failureMark(code) {
  const shape = code === 'institution_unavailable_planned' ? 'clock' : 'alert';
  return el('div', { class: 'mark-pair' }, bankTile(), el('span', { class: 'sign sign-danger' }, icon(shape)));
}

function failureButtons(code, again, otherLabel = 'Choose another bank') {
  const attempt = `${code} ${flow.institution?.id}`;
  const canChange = flow.manifest && flow.consented && !FAILURES[code].final;
  const canRetry = again && FAILURES[code].again && !flow.retried.has(attempt);
  const retry = () => { flow.retried.add(attempt); again(); };
  const leaving = flow.manifest?.cancel_url && !flow.embedded ? `Back to ${business()}` : 'Close';
  return [
    canChange && button(otherLabel, 'select-another', (control) => act(selectAnother, control)),
    canRetry && button('Try again', 'try-again', retry, canChange ? 'secondary' : 'primary'),
    canChange && !flow.visual?.reduce_manual_entry_prominence_in_errors && manualButton(),
    button(leaving, 'error-close', leave, canChange || canRetry ? 'quiet' : 'primary'),
  ];
}

function manualButton(label = 'Enter account details instead') {
  return flow.manifest.allow_manual_entry && button(label, 'enter-manually', enterManually, 'quiet');
}

// ----------------------------------------------------------------------------------------------------- Opening

async function synchronize() {
  let answer;
  try {
    answer = await post('financial_connections/sessions/synchronize', { locale: navigator.language });
  } catch (problem) {
    const expired = failureCode(problem, '') === 'session_expired';
    if (flow.embedded && !expired && !problem.unreachable) return end({ type: 'failed', error: problem.error });
    throw problem;
  }
  Object.assign(flow, { manifest: answer.manifest, text: answer.text, visual: answer.visual });
  flow.consented = Boolean(answer.manifest.consent_acquired_at) || answer.manifest.next_pane !== 'consent';
  document.getElementById('test-badge').hidden = answer.manifest.livemode;
  const session = await leftSignIn();
  if (!session) return go(answer.manifest.next_pane);
  if (!session.url) return followSession(session);
  flow.session = session;
  return waitForBank(session);
}

/** The sign-in at a bank's page that this tab was left with; null where there is none that goes on. */
async function leftSignIn() {
  const id = flow.embedded ? null : withStorage((storage) => storage.getItem(SIGN_IN_SLOT));
  if (!id || !flow.consented) return null;
  try {
    const session = await post('connections/auth_sessions/retrieve', { id });
    flow.institution = session.institution;
    return session.next_pane === 'success' ? null : session;
  } catch (problem) {
    if (problem.unreachable) throw problem;
    return null;
  }
}

/** Follows the server's word on what comes next. */
function go(pane) {
  const panes = { consent: showConsent, institution_picker: showPicker, manual_entry: showManualEntry,
    success: showSuccess, manual_entry_success: showManualSuccess };
  return (panes[pane] ?? showPicker)();
}

function adopt(manifest) {
  flow.manifest = { ...flow.manifest, ...manifest };
}

// ----------------------------------------------------------------------------------------------------- Consent

const SHARED = {
  balances: 'Balances',
  ownership: 'Owner’s name and address',
  payment_method: 'Account number',
  account_numbers: 'Account number',
  transactions: 'Transactions',
};

function showConsent() {
  const text = flow.text?.consent_pane ?? plainConsent();
  const bullets = text.body.bullets.map((bullet) => el('li', {}, icon('check'), el('span', {}, rich(bullet.content))));
  show('consent', {
    title: plainText(text.title),
    mark: consentMark(),
    body: [
      el('ul', { class: 'points' }, bullets),
      sharedSummary(),
    ],
    buttons: [
      text.above_cta && el('p', { class: 'fine' }, rich(text.above_cta)),
      button(text.cta, 'consent-continue', (control) => act(acquireConsent, control)),
      manualButton(),
    ],
  });
}

/** What is said if the server sends no text of its own. */
function plainConsent() {
  return {
    title: `${business()} uses Linkspan to connect your accounts`,
    body: { bullets: [
      { content: `Your sign-in details are never given to ${business()}.` },
      { content: `You choose the accounts that ${business()} may see.` },
      { content: 'You can have an account disconnected at any time.' },
    ] },
    above_cta: null,
    cta: 'Agree and continue',
  };
}

function plainText(markdown) {
  return rich(markdown).map((node) => node.textContent ?? node).join('');
}

function consentMark() {
  const pier = el('span', { class: 'monogram monogram-bank', 'aria-hidden': 'true' }, icon('bank'));
  const bridge = document.querySelector('.bar .span').cloneNode(true);
  bridge.setAttribute('class', 'span span-hero');
  return el('div', { class: 'hero', 'aria-hidden': 'true' }, monogram(business()), bridge, pier);
}

function sharedSummary() {
  const kinds = [...new Set(flow.manifest.permissions.map((permission) => SHARED[permission]).filter(Boolean))];
  const more = flow.text?.consent_pane?.data_access_notice
    ? el('button', { type: 'button', class: 'link', onclick: openDataNotice }, 'What this means') : null;
  return el('section', { class: 'shared', 'aria-labelledby': 'shared-title' },
    el('div', { class: 'shared-head' }, el('h2', { id: 'shared-title' }, `${business()} will see`), more),
    el('ul', {}, kinds.map((kind) => el('li', {}, kind))));
}

async function acquireConsent() {
  adopt(await post('link_account_sessions/consent_acquired'));
  flow.consented = true;
  emit('consent_acquired');
  return go(flow.manifest.next_pane);
}

function openDataNotice() {
  openNotice(flow.text?.consent_pane?.data_access_notice, 'bullets');
}

function openLegalNotice() {
  openNotice(flow.text?.consent_pane?.legal_details_notice, 'links');
}

function openNotice(text, entries) {
  if (!text) return;
  const items = text.body[entries].flatMap(({ title, content }) => [
    title && el('dt', {}, rich(title)), content && el('dd', {}, rich(content))]);
  openSheet({
    title: plainText(text.title),
    body: el('dl', { class: 'explained' }, items),
    buttons: [sheetButton(text.cta ?? 'OK', 'sheet-ok', 'primary')],
  });
}

// ------------------------------------------------------------------------------------------------- Institutions

function showPicker() {
  forgetSignIn();
  flow.institution = null;
  const results = el('div', { class: 'results', 'aria-busy': 'true' });
  const search = flow.manifest.institution_search_disabled ? null : searchField(results);
  show('institution_picker', {
    title: 'Choose your bank',
    lead: `Where is the account that you want to connect to ${business()}?`,
    body: [search, results],
    buttons: [manualButton('Enter account details by hand')],
  });
  results.addEventListener('keydown', (event) => moveInRows(event, results));
  loadInstitutions(results, '');
}

function searchField(results) {
  const input = el('input', { type: 'search', id: 'search', class: 'input', autocomplete: 'off', spellcheck: 'false',
    placeholder: 'Search by name', enterkeyhint: 'search', 'data-testid': 'institution-search' });
  let timer;
  let searched = false;
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!searched) emit('search_initiated');
      searched = true;
      loadInstitutions(results, input.value.trim());
    }, SEARCH_DELAY_MS);
  });
  input.addEventListener('keydown', (event) => moveInRows(event, results));
  return el('div', { class: 'search', role: 'search' },
    el('label', { for: 'search', class: 'sr-only' }, 'Search for your bank'), input);
}

/** Arrow keys walk from the search field through the rows; Tab works as everywhere. */
function moveInRows(event, results) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const rows = [...results.querySelectorAll('button')];
  const at = rows.indexOf(document.activeElement) + step;
  const target = at < 0 ? document.getElementById('search') : rows[at];
  if (!target) return;
  event.preventDefault();
  target.focus();
}

let latestSearch = 0;

/** Loads the featured banks, or those that a query finds. An answer that another query overtook is dropped. */
async function loadInstitutions(results, query) {
  const ticket = ++latestSearch;
  results.setAttribute('aria-busy', 'true');
  if (!results.querySelector('.row')) results.replaceChildren(skeletonRows(6));
  try {
    const answer = query ? await get('connections/institutions', { query, limit: 20 })
      : await get('connections/featured_institutions', { limit: 20 });
    if (ticket !== latestSearch || !results.isConnected) return;
    showInstitutions(results, answer, query);
  } catch (problem) {
    if (ticket !== latestSearch || !results.isConnected) return;
    results.replaceChildren();
    fail(problem, 'unexpected_error', () => loadInstitutions(results, query));
  } finally {
    if (ticket === latestSearch) results.setAttribute('aria-busy', 'false');
  }
}

function showInstitutions(results, answer, query) {
  clearNotice();
  const found = answer.data;
  if (!found.length) {
    results.replaceChildren(nothingFound(query, answer.show_manual_entry));
    announcer.textContent = 'No bank was found.';
    return;
  }
  const label = query ? `${found.length} ${plural(found.length, 'result', 'results')}` : 'Often chosen';
  const hint = !query && answer.has_more ? 'Not in the list? Search for it by name.' : null;
  results.replaceChildren(el('h2', { class: 'rows-title' }, label),
    el('ul', { class: 'rows' }, found.map((institution) => el('li', {}, institutionRow(institution)))),
    hint ? el('p', { class: 'fine' }, hint) : '');
  if (query) announcer.textContent = `${found.length} ${plural(found.length, 'bank', 'banks')} found.`;
}

function nothingFound(query, offerManual) {
  const manual = offerManual && flow.manifest.allow_manual_entry;
  return el('div', { class: 'empty', 'data-testid': 'no-results' },
    el('p', {}, query ? `No bank matches “${query}”.` : 'No bank is available here yet.'),
    el('p', { class: 'fine' }, 'Check the spelling, or try a shorter part of the name.',
      manual ? ' You can also enter your account details by hand, below.' : ''));
}

function institutionRow(institution) {
  const row = el('button', { type: 'button', class: 'row', 'data-testid': `institution-${institution.id}` },
    monogram(institution.name),
    el('span', { class: 'row-text' }, el('span', { class: 'row-name' }, institution.name),
      el('span', { class: 'row-detail' }, domainOf(institution.url))),
    icon('arrow', 'icon-directional'));
  row.addEventListener('click', () => act(() => chooseInstitution(institution), row));
  return row;
}

function domainOf(url) {
  return url ? url.replace(/^https?:\/\/(www\.)?/, '').replace(/\/.*$/, '') : '';
}

async function chooseInstitution(institution) {
  flow.institution = institution;
  emit('institution_selected', { institutionName: institution.name });
  try {
    flow.session = await post('connections/auth_sessions', { institution: institution.id });
  } catch (problem) {
    return fail(problem, 'unexpected_error', () => act(() => chooseInstitution(institution)));
  }
  return followSession(flow.session);
}

/** Goes where an AuthSession says: to a form, to the bank's own page, to the accounts or back to the banks. */
function followSession(session) {
  flow.session = session;
  if (session.next_pane === 'institution_picker') return session.failure ? refusedAtBank(session) : showPicker();
  if (session.next_pane !== 'partner_auth') return authorized();
  if (session.prompt) return showPrompt(session.prompt);
  return session.url ? showBankWindow(session) : waitForBank(session);
}

function rememberSignIn(session) {
  if (!flow.embedded) withStorage((storage) => storage.setItem(SIGN_IN_SLOT, session.id));
}

function forgetSignIn() {
  flow.session = null;
  withStorage((storage) => storage.removeItem(SIGN_IN_SLOT));
}

function authorized() {
  emit('institution_authorized');
  return loadAccounts();
}

async function selectAnother() {
  adopt(await post('link_account_sessions/link_more_accounts'));
  return showPicker();
}

/** Back from the sign-in. An answer that came meanwhile counts: cancelling comes after asking. */
async function leaveBank() {
  const current = await post('connections/auth_sessions/retrieve', { id: flow.session.id });
  if (current.next_pane !== 'partner_auth') return followSession(current);
  await post('connections/auth_sessions/cancel', { id: flow.session.id });
  return showPicker();
}

// ---------------------------------------------------------------------------------------------- Sign-in by form

const AUTOCOMPLETE = { username: 'username', user: 'username', password: 'current-password', code: 'one-time-code',
  mfa: 'one-time-code', otp: 'one-time-code' };

function showPrompt(prompt) {
  const form = el('form', { id: 'prompt', class: 'form', novalidate: true }, prompt.fields.map(promptField));
  if (prompt.error) form.prepend(el('p', { class: 'problem', id: 'prompt-error', role: 'alert' }, prompt.error));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (promptComplete(form, prompt.fields)) act(() => respond(form, prompt), submit);
  });
  const submit = el('button', { type: 'submit', form: 'prompt', class: 'button button-primary',
    'data-testid': 'prompt-submit' }, el('span', {}, prompt.submit_label ?? 'Continue'));
  show('partner_auth', {
    title: prompt.title,
    mark: bankTile(),
    lead: [prompt.message, promptReminder(prompt)],
    body: [form],
    buttons: [submit],
    back: () => act(leaveBank, backButton),
  });
  if (prompt.error) describeByError(form);
}

function promptReminder({ fields }) {
  if (!fields.length) return null;
  if (!fields.some((field) => field.kind === 'file')) {
    return `Linkspan passes this on to ${flow.institution.name}; ${business()} never sees it.`;
  }
  return `Linkspan reads the file and keeps it encrypted. ${business()} sees only the accounts that you choose next.`;
}

function promptField(field) {
  const id = `prompt-${field.name}`;
  if (field.kind === 'choice') return promptChoice(field, id);
  if (field.kind === 'file') return promptFile(field, id);
  const input = el('input', { id, name: field.name, class: 'input', type: field.kind, required: field.required,
    autocomplete: AUTOCOMPLETE[field.name] ?? 'off', autocapitalize: 'none', spellcheck: 'false', 'data-testid': id });
  const reveal = field.kind === 'password' ? revealButton(input) : null;
  return el('div', { class: 'field' }, el('label', { for: id }, field.label),
    el('div', { class: 'input-line' }, input, reveal),
    el('p', { class: 'problem', id: `${id}-problem`, hidden: true }));
}

function revealButton(input) {
  const toggle = el('button', { type: 'button', class: 'link reveal', 'aria-pressed': 'false',
    'aria-label': 'Show what you type' }, 'Show');
  toggle.addEventListener('click', () => {
    const hidden = input.type === 'password';
    input.type = hidden ? 'text' : 'password';
    toggle.setAttribute('aria-pressed', String(hidden));
    toggle.textContent = hidden ? 'Hide' : 'Show';
  });
  return toggle;
}

function promptChoice(field, id) {
  const options = field.options.map(({ value, label }) => el('label', { class: 'row row-choice' },
    el('input', { type: 'radio', name: field.name, value, required: true }),
    el('span', { class: 'row-text' }, el('span', { class: 'row-name' }, label))));
  return el('fieldset', { class: 'field', id, 'data-testid': id, 'aria-describedby': `${id}-problem` },
    el('legend', {}, field.label), el('div', { class: 'rows' }, options),
    el('p', { class: 'problem', id: `${id}-problem`, hidden: true }));
}

/** A place to drop a file on, which is also the button that opens the choice of files. */
function promptFile(field, id) {
  const input = el('input', { id, name: field.name, type: 'file', class: 'sr-only', required: true, 'data-testid': id,
    accept: '.ofx,.qfx,.qbo,application/x-ofx,application/vnd.intu.qfx,application/vnd.intu.qbo',
    'aria-describedby': `${id}-chosen` });
  const chosen = el('span', { class: 'row-detail', id: `${id}-chosen` }, 'Drop it here, or choose it.');
  const place = el('label', { class: 'drop' }, input, icon('file'),
    el('span', { class: 'row-text' }, el('span', { class: 'row-name' }, field.label), chosen));
  const show = () => {
    const [file] = input.files;
    document.getElementById('prompt-error')?.remove(); // it was said of another file
    chosen.textContent = file ? `${file.name} · ${sizeOf(file)}` : 'Drop it here, or choose it.';
    place.classList.toggle('drop-filled', Boolean(file));
    setProblem(input, id, fileProblem(file));
    if (!fileProblem(file)) input.setAttribute('aria-describedby', chosen.id);
  };
  input.addEventListener('change', show);
  for (const name of ['dragenter', 'dragover', 'dragleave', 'drop']) {
    place.addEventListener(name, (event) => {
      event.preventDefault();
      place.classList.toggle('drop-over', name === 'dragenter' || name === 'dragover');
      if (name !== 'drop' || !event.dataTransfer.files.length) return;
      input.files = event.dataTransfer.files;
      show();
    });
  }
  return el('div', { class: 'field' }, place,
    el('progress', { class: 'progress', id: `${id}-progress`, max: '1', value: '0', hidden: true,
      'aria-label': 'How much of the file was sent' }),
    el('p', { class: 'problem', id: `${id}-problem`, hidden: true }));
}

function sizeOf({ size }) {
  return size < 1_000_000 ? `${Math.max(1, Math.round(size / 1000))} kB` : `${(size / 1_000_000).toFixed(1)} MB`;
}

function fileProblem(file) {
  const limit = flow.manifest.upload_limit;
  if (file?.size === 0) return 'This file is empty.';
  return file && limit && file.size > limit
    ? `This file is larger than ${Math.floor(limit / 1_000_000)} MB. Choose a shorter time at your bank.` : '';
}

function promptComplete(form, fields) {
  const empty = fields.filter((field) => {
    if (field.required === false) return false;
    const value = new FormData(form).get(field.name);
    if (value instanceof File && value.name) {
      const problem = fileProblem(value);
      setProblem(form.elements[field.name], `prompt-${field.name}`, problem);
      return problem;
    }
    const missing = !value || value instanceof File;
    const text = { choice: 'Choose one.', file: 'Choose a file.' }[field.kind] ?? `${field.label} is needed.`;
    setProblem(form.elements[field.name], `prompt-${field.name}`, missing ? text : '');
    return missing;
  });
  if (empty.length) form.querySelector(`[name="${CSS.escape(empty[0].name)}"]`).focus();
  return !empty.length;
}

function describeByError(form) {
  const first = form.querySelector('input');
  if (!first) return;
  first.setAttribute('aria-describedby', 'prompt-error');
  first.setAttribute('aria-invalid', 'true');
  first.focus();
}

/** Shows or clears the message under a field and ties it to the input. */
function setProblem(input, id, text) {
  const problem = document.getElementById(`${id}-problem`);
  problem.textContent = text;
  problem.hidden = !text;
  if (!(input instanceof HTMLInputElement)) return;
  input.setAttribute('aria-invalid', String(Boolean(text)));
  if (text) input.setAttribute('aria-describedby', problem.id);
  else input.removeAttribute('aria-describedby');
}

async function respond(form, prompt) {
  const parameters = { id: flow.session.id };
  let timeout;
  try {
    for (const [name, value] of new FormData(form)) {
      const isFile = value instanceof File;
      parameters[`response[${name}]`] = isFile ? await upload(value, `prompt-${name}`) : value;
      if (isFile) timeout = FILE_TIMEOUT_MS;
    }
    return followSession(await post('connections/auth_sessions/respond', parameters, timeout));
  } catch (problem) {
    if (problem.unreachable) throw problem;
    if (problem.error?.code === 'file_too_large') return showPrompt({ ...prompt, error: problem.error.message });
    return fail(problem, 'authorization_failed', () => act(() => chooseInstitution(flow.institution)));
  }
}

/** Sends a file and shows how far it is; the answer is the id by which it is known from then on. */
async function upload(file, id) {
  const bar = document.getElementById(`${id}-progress`);
  bar.hidden = false;
  announcer.textContent = 'The file is being sent.';
  try {
    const answer = await sendFile(file, { id: flow.session.id }, (part) => { bar.value = part; });
    bar.removeAttribute('value'); // sent; how long reading takes is not known
    announcer.textContent = 'The file is being read.';
    return answer.id;
  } catch (problem) {
    bar.hidden = true;
    throw problem;
  }
}

// ------------------------------------------------------------------------------------ Sign-in at the bank's page

/** The bank's page opens in a window of its own, by the click itself; ours asks the server how it went. */
function showBankWindow(session) {
  const bank = flow.institution.name;
  const open = button(`Continue to ${bank}`, 'bank-continue', () => leaveForBank(session));
  open.append(icon('outside'));
  show('partner_auth', {
    title: `Sign in at ${bank}`,
    mark: bankTile(),
    lead: [`${bank} opens in a new window. Choose there which accounts ${business()} may see, then come back here.`,
      `Linkspan never sees your password.`],
    buttons: [open, button('Choose another bank', 'select-another', (control) => act(leaveBank, control), 'quiet')],
    back: () => act(leaveBank, backButton),
  });
}

/** Opens a window without asking anything first: browsers allow it in the click alone. Null where they do not. */
function openWindow() {
  const opened = window.open('about:blank', '_blank', 'popup=yes,width=520,height=760');
  if (!opened || opened.closed) return null;
  opened.opener = null; // the bank's page gets no hold of ours
  return opened;
}

function leaveForBank(session) {
  rememberSignIn(session);
  const opened = openWindow();
  if (!opened) return showBlocked(session);
  opened.location.replace(session.url);
  return waitForBank(session, opened);
}

/** No window opened, or none that we know of: the person goes by a link, in this tab where it is ours. */
function showBlocked(session) {
  const bank = flow.institution.name;
  const target = flow.embedded ? { target: '_blank', rel: 'noopener' } : {};
  const link = el('a', { class: 'button button-primary', href: session.url, 'data-testid': 'bank-same-tab', ...target },
    el('span', {}, `Go to ${bank}`), icon('outside'));
  if (!flow.embedded) {
    link.addEventListener('click', () => withStorage((storage) => storage.setItem(SAME_TAB_SLOT, '1')));
  }
  show('partner_auth', {
    title: `Your browser kept ${bank} from opening`,
    mark: bankTile(),
    lead: [flow.embedded ? `Use the button: it opens ${bank} in a new tab. This page goes on by itself.`
      : `Use the button: ${bank} opens in this tab and brings you back here.`],
    buttons: [link, button('Choose another bank', 'select-another', (control) => act(leaveBank, control), 'quiet')],
    back: () => act(leaveBank, backButton),
  });
  watchBank(session); // some apps open a window and say that they did not
}

function waitForBank(session, opened = null) {
  const bank = flow.institution.name;
  const reopen = session.url && button(`Open ${bank} again`, 'bank-reopen', reopenBank, 'secondary');
  show('partner_auth', {
    title: `Waiting for ${bank}`,
    mark: bankTile(),
    lead: 'Finish signing in there and come back. This page goes on by itself.',
    body: [el('div', { class: 'waiting', 'aria-hidden': 'true' }, el('i'), el('i'), el('i'))],
    buttons: [reopen, button('Choose another bank', 'select-another', (control) => act(leaveBank, control), 'quiet')],
    back: () => act(leaveBank, backButton),
  });
  watchBank(session, opened);
}

/** A bank takes a request once, so going there again needs a new one; the window must open in the click. */
function reopenBank(control) {
  const opened = openWindow();
  return act(async () => {
    try {
      await post('connections/auth_sessions/cancel', { id: flow.session.id });
      const session = await post('connections/auth_sessions', { institution: flow.institution.id });
      followSession(session);
      if (!session.url) return opened?.close();
      rememberSignIn(session);
      if (!opened) return showBlocked(session);
      opened.location.replace(session.url);
      return waitForBank(session, opened);
    } catch (problem) {
      opened?.close();
      if (problem.unreachable) throw problem;
      return fail(problem, 'unexpected_error', () => act(() => chooseInstitution(flow.institution)));
    }
  }, control);
}

/** The sign-in ended at the bank without an account. Turning back there is nobody's fault. */
function refusedAtBank(session) {
  const again = () => act(() => chooseInstitution(flow.institution));
  if (session.failure !== 'cancelled') {
    const error = { type: 'api_error', message: `The bank's page ended with: ${session.failure}.`,
      extra_fields: { reason: session.failure } };
    forgetSignIn();
    return fail(new Refusal(error), 'authorization_failed', again);
  }
  const bank = flow.institution.name;
  forgetSignIn();
  return show('partner_auth', {
    title: `You turned back at ${bank}`,
    mark: bankTile(),
    lead: `Nothing was shared with ${business()}. You can go to ${bank} again, or choose another bank.`,
    error: 'cancelled',
    buttons: [button('Try again', 'try-again', again),
      button('Choose another bank', 'select-another', (control) => act(selectAnother, control), 'secondary')],
    back: () => showPicker(),
  });
}

/** Asks until the bank has answered, the person has left, or another control is at work, which then decides. */
async function watchBank(session, opened = null) {
  while (flow.session === session && !flow.ended) {
    await pause(BANK_WINDOW_POLL_MS);
    let answer;
    const wasClosed = opened?.closed; // looked at before asking: an answer may come with the closing
    try {
      const current = await post('connections/auth_sessions/retrieve', { id: session.id });
      if (current.next_pane !== 'partner_auth' || current.prompt) answer = () => followSession(current);
      else if (wasClosed) answer = () => showWindowClosed(session);
    } catch (problem) {
      const again = () => act(() => chooseInstitution(flow.institution));
      if (!problem.unreachable) answer = () => fail(problem, 'authorization_failed', again);
    }
    if (answer && flow.session === session && !flow.busy) return act(async () => answer());
  }
  return undefined;
}

/** The person closed the bank's window. It may still come back: an app may have taken over. */
function showWindowClosed(session) {
  const bank = flow.institution.name;
  show('partner_auth', {
    title: `${bank}’s window was closed`,
    mark: bankTile(),
    lead: `Nothing was shared yet. Open ${bank} again to go on, or choose another bank.`,
    error: 'window_closed',
    buttons: [button(`Open ${bank} again`, 'bank-reopen', reopenBank),
      button('Choose another bank', 'select-another', (control) => act(leaveBank, control), 'quiet')],
    back: () => act(leaveBank, backButton),
  });
  watchBank(session);
}

// ---------------------------------------------------------------------------------------------------- Accounts

async function loadAccounts() {
  const bank = flow.institution.name;
  const again = () => act(loadAccounts);
  showLoading('Getting your accounts', `${bank} is answering. This can take a moment.`);
  let answer;
  try {
    answer = await post('connections/auth_sessions/accounts', { id: flow.session.id });
  } catch (problem) {
    return fail(problem, 'accounts_unavailable', again);
  }
  if (answer.data.length) return showAccounts(answer.data);
  const empty = new Refusal({ type: 'api_error', code: 'accounts_unavailable', message: 'The list is empty.' });
  return fail(empty, 'accounts_unavailable', again);
}

/** How many accounts may still be picked. */
function room() {
  const { accounts_limit: limit, accounts_linked: linked } = flow.manifest;
  return limit ? Math.max(limit - (linked ?? 0), 0) : Infinity;
}

function showAccounts(accounts) {
  const single = flow.manifest.single_account || room() === 1;
  const able = accounts.filter((account) => account.allow_selection !== false);
  const rest = accounts.filter((account) => account.allow_selection === false);
  const connect = button('', 'accounts-connect', (control) => act(() => connectAccounts(form), control));
  const form = el('form', { id: 'accounts', class: 'form' });
  const limited = !single && able.length > room();
  form.append(el('fieldset', {},
    el('legend', { class: 'sr-only' }, single ? 'Accounts, choose one' : 'Accounts, choose one or more'),
    !single && able.length > 1 && !limited && selectAllRow(form, able.length),
    el('div', { class: 'rows' }, [...able, ...rest].map((account) => accountRow(account, single, able.length === 1)))));
  const refresh = () => updateConnect(form, connect, limited);
  form.addEventListener('change', refresh);
  form.addEventListener('submit', (event) => { event.preventDefault(); connect.click(); });
  show('account_picker', {
    title: single ? 'Choose an account' : 'Choose your accounts',
    mark: bankTile(),
    lead: [accountsLead(single, accounts), limited ? `You can choose up to ${room()} accounts.` : null],
    body: [form, sharingReminder()],
    buttons: [connect,
      button('Choose another bank', 'select-another', (control) => act(leaveAccounts, control), 'quiet')],
  });
  refresh();
}

function sharingReminder() {
  if (!flow.text?.consent_pane?.data_access_notice) return null;
  return el('p', { class: 'fine reminder' }, `${business()} will see what you agreed to, for these accounts only. `,
    el('button', { type: 'button', class: 'link', onclick: openDataNotice }, 'What is shared'));
}

function accountsLead(single, accounts) {
  const what = single ? 'the account' : 'the accounts';
  const banks = new Set(accounts.map((account) => account.institution_name));
  const where = banks.size === 1 ? ` at ${[...banks][0]}` : '';
  return `Pick ${what}${where} to connect to ${business()}.`;
}

/** The bank has answered already, so asking again would lead straight back here: cancel at once. */
async function leaveAccounts() {
  await post('connections/auth_sessions/cancel', { id: flow.session.id });
  return showPicker();
}

function selectAllRow(form, count) {
  const all = el('input', { type: 'checkbox', 'data-testid': 'accounts-select-all' });
  all.addEventListener('change', () => {
    form.querySelectorAll('input[name=account]:enabled').forEach((input) => { input.checked = all.checked; });
  });
  return el('label', { class: 'select-all' }, all, el('span', {}, `Select all ${count}`));
}

function accountRow(account, single, only) {
  const able = account.allow_selection !== false;
  const id = `reason-${account.id}`;
  const reason = able ? null : account.allow_selection_message || `${business()} cannot use this kind of account.`;
  const digits = account.displayable_account_numbers;
  const input = el('input', { type: single ? 'radio' : 'checkbox', name: 'account', value: account.id, disabled: !able,
    checked: able && only, 'aria-describedby': reason ? id : null, 'data-testid': `account-${account.name}` });
  const guessed = account.category_kind;
  const kind = [!guessed && kindOf(account), account.linked_account_id && 'already connected']
    .filter(Boolean).join(' · ');
  const row = el('label', { class: `row row-choice ${able ? '' : 'row-disabled'}` }, input,
    el('span', { class: 'row-text' }, el('span', { class: 'row-name' }, account.name),
      el('span', { class: 'row-detail' }, kind),
      reason && el('span', { class: 'row-reason', id }, reason)),
    digits && ending(digits));
  return guessed && able ? el('div', { class: 'row-with-kind' }, row, kindChoice(account)) : row;
}

const KINDS = { checking: 'Checking', savings: 'Savings', cash: 'Other cash account', credit_card: 'Credit card',
  line_of_credit: 'Line of credit', mortgage: 'Mortgage', loan: 'Loan', investment: 'Investment', other: 'Other' };

/** Where the bank does not say what an account is, the person may; what stands there is a guess. */
function kindChoice(account) {
  const id = `kind-${account.id}`;
  const options = Object.entries(KINDS).map(([value, label]) =>
    el('option', { value, selected: value === account.category_kind }, label));
  return el('div', { class: 'kind' }, el('label', { for: id }, 'Type'),
    el('select', { id, class: 'kind-choice', 'data-account': account.id, 'data-guess': account.category_kind,
      'aria-label': `Type of ${account.name}`, 'data-testid': `kind-${account.name}` }, options));
}

/** The last digits for the eye and for the ear; they read left to right in every script. */
function ending(digits) {
  return el('span', { class: 'digits' }, el('span', { class: 'sr-only' }, `ending in ${digits}`),
    el('span', { 'aria-hidden': 'true', dir: 'ltr' }, `•••• ${digits}`));
}

function kindOf({ category, subcategory }) {
  const kind = (subcategory && subcategory !== 'other' ? subcategory : category ?? '').replaceAll('_', ' ');
  return kind.charAt(0).toUpperCase() + kind.slice(1);
}

function updateConnect(form, connect, limited) {
  const inputs = [...form.querySelectorAll('input[name=account]')];
  const count = inputs.filter((input) => input.checked).length;
  connect.disabled = count === 0;
  const label = count > 1 ? `Connect ${count} accounts` : count === 1 ? 'Connect 1 account' : 'Connect account';
  connect.firstChild.textContent = label;
  const all = form.querySelector('[data-testid=accounts-select-all]');
  const able = inputs.filter((input) => !input.closest('.row-disabled'));
  if (all) {
    all.checked = count === able.length;
    all.indeterminate = count > 0 && count < able.length;
  }
  if (!limited) return;
  able.forEach((input) => { input.disabled = !input.checked && count >= room(); });
  announcer.textContent = count >= room() ? `${count} of ${room()} accounts chosen. Clear one to choose another.` : '';
}

async function connectAccounts(form) {
  const chosen = new FormData(form).getAll('account');
  if (!chosen.length) return undefined;
  emit('accounts_selected');
  const corrections = [...form.querySelectorAll('select[data-account]')]
    .filter(({ dataset, value }) => chosen.includes(dataset.account) && value !== dataset.guess)
    .map(({ dataset, value }) => `${value}:${dataset.account}`);
  const answer = await post('connections/auth_sessions/selected_accounts',
    { id: flow.session.id, selected_accounts: chosen, corrections });
  flow.linked.push(...answer.data);
  flow.manifest.accounts_linked = (flow.manifest.accounts_linked ?? 0) + answer.data.length;
  return answer.next_pane === 'attach_linked_payment_account' ? attachLinked(answer.data[0]) : showSuccess();
}

async function attachLinked(account) {
  showLoading('Almost there', `${flow.institution.name} is confirming the account.`);
  try {
    await post('link_account_sessions/attach_payment_account',
      { type: 'linked_account', 'linked_account[id]': account.linked_account_id });
  } catch (problem) {
    return fail(problem, 'account_numbers_unavailable', () => act(() => attachLinked(account)));
  }
  return showSuccess();
}

// ----------------------------------------------------------------------------------------------------- Success

async function showSuccess() {
  const accounts = flow.linked.length ? flow.linked : await linkedBefore();
  const count = accounts.length;
  const another = !flow.manifest.disable_link_more_accounts && room() > 0;
  show('success', {
    title: count > 1 ? `${count} accounts are connected` : 'Your account is connected',
    mark: el('span', { class: 'sign sign-success' }, icon('check')),
    lead: `${business()} can now see the data that you agreed to share.`,
    body: [
      el('ul', { class: 'rows linked', 'aria-label': 'Connected accounts' }, accounts.map(linkedRow)),
      el('section', { class: 'aside' }, el('h2', {}, 'To stop sharing'),
        el('p', {}, `Ask ${business()} to disconnect the account. You can do so at any time; from then on Linkspan gives
          them nothing new.`)),
    ],
    buttons: [doneButton(), another && button('Link another account', 'link-another',
      (control) => act(selectAnother, control), 'quiet')],
  });
}

/** After a reload the page no longer knows what was linked; the server does. */
async function linkedBefore() {
  const { data } = await get('link_account_sessions/list_accounts', { limit: 100 });
  return data.map((account) => ({ id: account.id, name: account.display_name ?? account.institution_name,
    institution_name: account.institution_name, displayable_account_numbers: account.last4 }));
}

function linkedRow(account) {
  const bank = account.institution_name ?? flow.institution?.name ?? '';
  const digits = account.displayable_account_numbers;
  return el('li', { class: 'row' }, monogram(bank || account.name),
    el('span', { class: 'row-text' }, el('span', { class: 'row-name' }, account.name),
      el('span', { class: 'row-detail' }, bank)),
    digits && ending(digits));
}

function doneButton() {
  const label = flow.embedded || !flow.manifest.success_url ? 'Done' : `Back to ${business()}`;
  return button(label, 'done', (control) => act(() => finish(), control));
}

// ------------------------------------------------------------------------------------------------- Manual entry

/** `check` answers what is wrong with a value, or nothing. */
const MANUAL_FIELDS = [
  { name: 'routing', label: 'Routing number', hint: 'Nine digits, on a check or in your bank’s app', length: 9,
    param: 'bank_account[routing_number]', check: routingProblem },
  { name: 'account', label: 'Account number', hint: 'Up to 17 digits', length: 17,
    param: 'bank_account[account_number]', check: accountProblem },
  { name: 'account-confirm', label: 'Account number again', length: 17, check: confirmationProblem },
];

/** The nine digits of a routing number, weighted 3, 7, 1, add up to a multiple of ten. */
function routingProblem(value) {
  if (!/^\d{9}$/.test(value)) return 'A routing number has nine digits.';
  const sum = [...value].reduce((total, digit, index) => total + Number(digit) * [3, 7, 1][index % 3], 0);
  return sum % 10 || sum === 0 ? 'This is not a valid routing number. Check each digit.' : '';
}

function accountProblem(value) {
  return /^\d{4,17}$/.test(value) ? '' : 'An account number has 4 to 17 digits.';
}

function confirmationProblem(value) {
  if (!value) return 'Enter the account number a second time.';
  return value === document.getElementById('manual-account').value ? '' : 'The two account numbers differ.';
}

function enterManually(control) {
  if (flow.manifest.manual_entry_mode !== 'custom') return showManualEntry();
  emit('manual_entry_initiated');
  const reason = { terminal_error: 'user_initiated_with_custom_manual_entry' };
  return act(() => finish(reason), control);
}

function showManualEntry() {
  emit('manual_entry_initiated');
  const form = el('form', { id: 'manual', class: 'form', novalidate: true },
    el('p', { class: 'problem', id: 'manual-problem', role: 'alert', hidden: true }), MANUAL_FIELDS.map(manualField));
  const submit = el('button', { type: 'submit', form: 'manual', class: 'button button-primary',
    'data-testid': 'manual-submit' }, el('span', {}, 'Continue'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (manualComplete(form)) act(() => attachManually(form), submit);
  });
  show('manual_entry', {
    title: 'Enter your account details',
    lead: ['Use a checking account in US dollars.', flow.manifest.manual_entry_uses_microdeposits
      ? 'To check that it is yours, we send small deposits that arrive in one or two business days.' : null],
    body: [flow.manifest.livemode ? null : testFill(form), form],
    buttons: [submit],
    back: flow.consented ? showPicker : showConsent,
  });
}

function testFill(form) {
  const fill = button('Fill in test data', 'manual-test-fill', () => {
    const values = [TEST_BANK.routing, TEST_BANK.account, TEST_BANK.account];
    MANUAL_FIELDS.forEach((field, index) => {
      form.elements[field.name].value = values[index];
      checkManual(form, field);
    });
    actions.querySelector('[data-testid=manual-submit]').focus();
  }, 'small');
  return el('div', { class: 'aside aside-line' }, el('p', {}, 'In test mode any valid number works.'), fill);
}

function manualField(field) {
  const id = `manual-${field.name}`;
  const input = el('input', { id, name: field.name, class: 'input input-digits', inputmode: 'numeric',
    autocomplete: 'off', maxlength: field.length, required: true, 'data-testid': id,
    'aria-describedby': field.hint ? `${id}-hint` : null });
  input.addEventListener('input', () => {
    input.value = input.value.replace(/\D/g, '');
    if (input.getAttribute('aria-invalid') === 'true') checkManual(input.form, field);
  });
  input.addEventListener('blur', () => input.value && checkManual(input.form, field));
  return el('div', { class: 'field' }, el('label', { for: id }, field.label),
    field.hint && el('p', { class: 'hint', id: `${id}-hint` }, field.hint), input,
    el('p', { class: 'problem', id: `${id}-problem`, hidden: true }));
}

function checkManual(form, field, text = field.check(form.elements[field.name].value)) {
  const id = `manual-${field.name}`;
  const input = form.elements[field.name];
  setProblem(input, id, text);
  const described = [field.hint && `${id}-hint`, text && `${id}-problem`].filter(Boolean).join(' ');
  if (described) input.setAttribute('aria-describedby', described);
  return !text;
}

function manualComplete(form) {
  const wrong = MANUAL_FIELDS.filter((field) => !checkManual(form, field));
  if (wrong.length) form.elements[wrong[0].name].focus();
  return !wrong.length;
}

async function attachManually(form) {
  const [routing, account] = MANUAL_FIELDS;
  const summary = document.getElementById('manual-problem');
  summary.hidden = true;
  try {
    const answer = await post('link_account_sessions/attach_payment_account', {
      type: 'bank_account',
      [routing.param]: form.elements.routing.value,
      [account.param]: form.elements.account.value,
    });
    flow.manual = { last4: form.elements.account.value.slice(-4), method: answer.microdeposit_verification_method };
    return showManualSuccess();
  } catch (problem) {
    if (problem.unreachable || failureCode(problem, '') === 'session_expired') throw problem;
    return refuseManual(form, summary, problem);
  }
}

function refuseManual(form, summary, problem) {
  const field = MANUAL_FIELDS.find(({ param }) => param && param === problem.error.param);
  if (field) {
    checkManual(form, field, problem.message);
    form.elements[field.name].focus();
    return;
  }
  summary.textContent = problem.message;
  summary.hidden = false;
  form.elements.routing.focus();
}

function showManualSuccess() {
  const { last4, method } = flow.manual ?? {};
  const deposits = ['amounts', 'descriptor_code'].includes(method);
  const ending = last4 ? ` ending in ${last4}` : '';
  const next = method === 'descriptor_code'
    ? 'look for a deposit of one cent with a code that starts with SM, and give that code to'
    : 'look for two small deposits and give their amounts to';
  show('manual_entry_success', {
    title: deposits ? 'Almost there' : 'Your account was added',
    mark: el('span', { class: 'sign sign-success' }, icon('check')),
    lead: deposits ? `In one or two business days, ${next} ${business()} to prove that the account${ending} is yours.`
      : `${business()} now has the details of your account${ending}.`,
    buttons: [doneButton()],
  });
}

// ------------------------------------------------------------------------------------------------------- Start

/** In a frame: say that we are ready, and take the first start that our parent sends. */
function startInFrame() {
  window.addEventListener('message', function begin({ source, data, ports }) {
    if (source !== window.parent || data?.linkspan !== 1 || data.type !== 'start' || !ports[0]) return;
    window.removeEventListener('message', begin);
    flow.port = ports[0];
    flow.port.onmessage = (message) => message.data?.type === 'close_requested' && requestClose();
    flow.credential = { key: data.key, clientSecret: data.clientSecret, account: data.account };
    applyAppearance(data.appearance ?? {});
    tell({ type: 'loaded' });
    act(synchronize);
  });
  // The parent is unknown until it answers; these words carry no secret.
  window.parent.postMessage({ linkspan: 1, type: 'ready' }, '*');
}

/** A merchant may bring its own accent and corners; a value that is not what it should be is left out. */
function applyAppearance(appearance) {
  const rules = [['accent', '--accent', 'color'], ['onAccent', '--on-accent', 'color'],
    ['radius', '--radius', 'border-radius']];
  for (const [name, variable, property] of rules) {
    const value = appearance[name];
    if (CSS.supports(property, value)) document.documentElement.style.setProperty(variable, value);
  }
}

/** At the top level: take the token out of the address, and keep it while the tab lives. */
function startAtTop() {
  const address = new URL(window.location.href);
  const token = address.searchParams.get('t') ?? withStorage((storage) => storage.getItem(TOKEN_SLOT));
  if (!token) {
    return act(() => fail(new Refusal({ message: 'The address carries no flow token.' }), 'session_expired'));
  }
  withStorage((storage) => storage.setItem(TOKEN_SLOT, token));
  address.searchParams.delete('t');
  window.history.replaceState(null, '', address);
  flow.credential = { key: token };
  return act(synchronize);
}

/** A browser may deny storage; then a reload starts with the expired pane, and all else works. */
function withStorage(use) {
  try {
    return use(window.sessionStorage);
  } catch {
    return null;
  }
}

closeButton.addEventListener('click', requestClose);
backButton.addEventListener('click', () => flow.back?.(backButton));
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.defaultPrevented) return;
  if (event.target.matches?.('input[type=search]') && event.target.value) return;
  if (document.querySelector('dialog[open]')) return;
  event.preventDefault(); // or the same key press would close the question that it opens
  requestClose();
});

flow.embedded = new URLSearchParams(window.location.search).get('embed') === '1' && window.parent !== window;
root.dataset.embedded = String(flow.embedded);
if (flow.embedded) startInFrame();
else startAtTop();
