// The JavaScript library: one script tag that defines window.Stripe with the calls that link accounts, so that a page
// written for Stripe.js works against the Linkspan server that this file came from.
//
// It promises that a promise always resolves ({financialConnectionsSession} or {error}), that the person can get out
// from the first frame on, and that the result is what the server says: a message from the frame only says "ended".
// It refuses secret keys, a second flow while one is open, messages from any other window or origin, and to put the
// client secret in an address of the frame. Wrong use throws an Error named IntegrationError.

(() => {
  'use strict';

  const READY_TIMEOUT_MS = 15_000;
  const REQUEST_TIMEOUT_MS = 20_000;
  const NOT_SERVED = 'is not served by Linkspan, which links bank accounts and takes no payments.';

  class IntegrationError extends Error {
    constructor(message) {
      super(message);
      this.name = 'IntegrationError';
    }
  }

  const script = document.currentScript;
  if (!script?.src) throw new IntegrationError('Load this library with <script src="https://…/v3/"></script>.');
  const base = new URL(script.src).origin;
  let flowIsOpen = false;

  // ------------------------------------------------------------------------------------------------ The server

  async function request(merchant, method, path, parameters) {
    const form = new URLSearchParams(parameters);
    const headers = { Authorization: `Bearer ${merchant.key}` };
    if (merchant.account) headers['Stripe-Account'] = merchant.account;
    const options = { method, headers, mode: 'cors', credentials: 'omit', cache: 'no-store' };
    options.signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    if (method === 'POST') options.body = form;
    let response;
    let answer;
    try {
      response = await fetch(`${base}/v1/${path}${method === 'GET' ? `?${form}` : ''}`, options);
      answer = await response.json();
    } catch {
      const message = `The Linkspan server at ${base} could not be reached.`;
      throw Object.assign(new Error(message), { type: 'api_connection_error' });
    }
    if (response.ok) return answer;
    throw Object.assign(new Error(answer.error?.message), answer.error);
  }

  /** The session as Stripe.js gives it: `accounts` is a plain array that holds every page. */
  async function receipt(merchant, clientSecret) {
    const secret = { client_secret: clientSecret };
    const session = await request(merchant, 'GET', 'link_account_sessions/session_receipt', secret);
    const accounts = [...(session.accounts?.data ?? [])];
    let more = session.accounts?.has_more && accounts.length > 0;
    while (more) {
      const after = { ...secret, starting_after: accounts.at(-1).id };
      const page = await request(merchant, 'GET', 'link_account_sessions/list_accounts', after);
      accounts.push(...page.data);
      more = page.has_more && page.data.length > 0;
    }
    return { ...session, accounts };
  }

  /** An error of the server, or of ours, as a plain object of Stripe's shape. */
  function asStripeError(problem) {
    const error = { type: problem.type ?? 'api_error', message: problem.message };
    for (const name of ['code', 'param', 'doc_url', 'request_log_url']) {
      if (problem[name] !== undefined) error[name] = problem[name];
    }
    return error;
  }

  // ------------------------------------------------------------------------------------------------- The modal

  const STYLE = `
    :host { all: initial; }
    * { box-sizing: border-box; }
    dialog { --ground: #fff; --ink: #11231f; --quiet: #4b5d58; --line: #d3ddd9; --accent: #0c4f4a; --on-accent: #fff;
      position: fixed; inset: 0; margin: auto; padding: 0; border: 0; overflow: hidden; color-scheme: light dark;
      inline-size: min(100% - 2rem, 27.5rem); block-size: min(100% - 2rem, 46rem); max-inline-size: none;
      max-block-size: none; border-radius: 1.25rem; background: var(--ground); color: var(--ink);
      font: 400 16px/1.5 ui-sans-serif, system-ui, sans-serif; box-shadow: 0 24px 64px -16px rgb(0 0 0 / 50%); }
    dialog::backdrop { background: rgb(6 18 16 / 60%); }
    iframe { position: absolute; inset: 0; inline-size: 100%; block-size: 100%; border: 0; background: var(--ground);
      visibility: hidden; color-scheme: light dark; }
    .drawn iframe { visibility: visible; }
    .shell { position: absolute; inset: 0; padding: 0.75rem; overflow: auto; }
    .drawn .shell { display: none; }
    .close { display: grid; place-items: center; inline-size: 2.75rem; block-size: 2.75rem; margin-inline-start: auto;
      border: 0; border-radius: 50%; background: none; color: var(--quiet); font: inherit; font-size: 1.25rem;
      cursor: pointer; }
    .body { padding: 1.25rem 0.75rem; display: grid; gap: 0.75rem; }
    .bone { block-size: 1rem; border-radius: 0.875rem; background: var(--line); animation: breathe 1.6s infinite; }
    .bone:nth-child(1) { block-size: 3.5rem; inline-size: 60%; margin-block-end: 1rem; }
    .bone:nth-child(2) { block-size: 1.75rem; }
    .bone:nth-child(3) { inline-size: 85%; }
    h2 { margin: 0; font-size: 1.5rem; line-height: 1.2; letter-spacing: -0.02em; }
    p { margin: 0; color: var(--quiet); }
    .button { display: grid; place-items: center; min-block-size: 3.25rem; padding: 0.5rem 1rem;
      border: 1px solid var(--accent); border-radius: 0.875rem; background: none;
      color: var(--accent); font: inherit; font-weight: 600;
      text-decoration: none; cursor: pointer; }
    .primary { background: var(--accent); color: var(--on-accent); }
    :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
    @keyframes breathe { 50% { opacity: 0.4; } }
    @media (max-width: 34rem) { dialog { inline-size: 100%; block-size: 100%; border-radius: 0; } }
    @media (prefers-color-scheme: dark) { dialog { --ground: #131d1b; --ink: #e9f1ee; --quiet: #a6b8b2; --line: #2d3b38;
      --accent: #8fd6c5; --on-accent: #06201b; } }
    @media (prefers-reduced-motion: reduce) { .bone { animation: none; } }`;

  function element(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  /** One flow in one dialog. `outcome` resolves once, with {type: 'closed'} or {type: 'failed', error}. */
  class Modal {
    constructor(merchant, clientSecret) {
      this.merchant = merchant;
      this.clientSecret = clientSecret;
      this.outcome = new Promise((resolve) => { this.resolve = resolve; });
      this.listening = new AbortController();
    }

    /** Draws the skeleton in this frame of the page, before anything is asked of the network. */
    open() {
      this.opener = document.activeElement;
      this.host = element('div');
      const shadow = this.host.attachShadow({ mode: 'open' });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      shadow.adoptedStyleSheets = [sheet];
      this.body = element('div', { className: 'body' });
      this.body.append(...[1, 2, 3, 4].map(() => element('div', { className: 'bone' })));
      const close = element('button', { type: 'button', className: 'close', textContent: '✕', ariaLabel: 'Close' });
      close.addEventListener('click', () => this.giveUp());
      this.frame = element('iframe', { title: 'Connect your accounts', referrerPolicy: 'strict-origin' });
      this.dialog = element('dialog', { ariaLabel: 'Connect your accounts' },
        element('div', { className: 'shell' }, close, this.body), this.frame);
      this.dialog.addEventListener('cancel', (event) => { event.preventDefault(); this.askToClose(); });
      this.dialog.addEventListener('close', () => this.giveUp());
      shadow.append(this.dialog);
      document.body.append(this.host);
      this.overflow = document.documentElement.style.overflow;
      document.documentElement.style.overflow = 'hidden';
      this.dialog.showModal();
      this.listen();
      this.frame.src = `${base}/flow?embed=1`;
    }

    listen() {
      const { signal } = this.listening;
      window.addEventListener('message', (event) => this.hear(event), { signal });
      document.addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) => {
        const blocked = effectiveDirective === 'frame-src' && blockedURI.startsWith(base);
        if (blocked) this.offerFullPage('This website’s content policy does not allow it.');
      }, { signal });
      const late = 'A browser extension, a content policy or the network may be in the way.';
      this.timer = setTimeout(() => this.offerFullPage(late), READY_TIMEOUT_MS);
    }

    /** The frame says "ready" each time that it is loaded; only then, and only to its origin, goes the secret. */
    hear({ origin, source, data }) {
      if (origin !== base || source !== this.frame.contentWindow) return;
      if (data?.linkspan !== 1 || data.type !== 'ready') return;
      clearTimeout(this.timer);
      const { port1, port2 } = new MessageChannel();
      this.port = port1;
      this.port.onmessage = (message) => this.follow(message.data);
      const { key, account, appearance } = this.merchant;
      const start = { linkspan: 1, type: 'start', key, clientSecret: this.clientSecret, account, appearance };
      this.frame.contentWindow.postMessage(start, base, [port2]);
    }

    follow(message) {
      if (message?.type === 'event') this.merchant.report(message.name, message.metadata);
      if (message?.type === 'loaded') this.showFrame();
      if (message?.type === 'closed') this.end({ type: 'closed' });
      if (message?.type === 'failed') this.end({ type: 'failed', error: message.error ?? {} });
    }

    showFrame() {
      this.drawn = true;
      this.dialog.classList.add('drawn');
      this.frame.focus();
    }

    /** Escape outside of the frame: the frame knows whether to ask first. */
    askToClose() {
      if (this.drawn) this.port.postMessage({ type: 'close_requested' });
      else this.giveUp();
    }

    /** Closed without the frame's help: complete in its stead. That is idempotent, and the receipt tells the rest. */
    async giveUp() {
      if (this.ended) return;
      this.ended = true;
      this.close();
      try {
        const secret = { client_secret: this.clientSecret };
        await request(this.merchant, 'POST', 'link_account_sessions/complete', secret);
        this.resolve({ type: 'closed' });
      } catch (error) {
        this.resolve({ type: 'failed', error });
      }
    }

    async offerFullPage(reason) {
      clearTimeout(this.timer);
      this.listening.abort();
      this.frame.remove();
      const retreat = element('button', { type: 'button', className: 'button', textContent: 'Close' });
      retreat.addEventListener('click', () => this.giveUp());
      const heading = element('h2', { textContent: 'The secure page did not open' });
      const cause = element('p', { textContent: reason });
      this.body.replaceChildren(heading, cause, retreat);
      try {
        const secret = { client_secret: this.clientSecret };
        const { manifest } = await request(this.merchant, 'POST', 'financial_connections/sessions/synchronize', secret);
        const properties = { className: 'button primary', textContent: 'Open it in a new window', target: '_blank' };
        const full = element('a', { ...properties, rel: 'noopener', href: manifest.hosted_auth_url });
        full.addEventListener('click', () => { retreat.textContent = 'I have finished there'; }, { once: true });
        cause.append(' You can go on in a window of its own, and come back here afterwards.');
        retreat.before(full);
        full.focus();
      } catch (error) {
        this.end({ type: 'failed', error });
      }
    }

    end(outcome) {
      if (this.ended) return;
      this.ended = true;
      this.close();
      this.resolve(outcome);
    }

    close() {
      clearTimeout(this.timer);
      this.listening.abort();
      this.port?.close();
      this.dialog.close();
      this.host.remove();
      document.documentElement.style.overflow = this.overflow;
      this.opener?.focus?.();
    }
  }

  // ------------------------------------------------------------------------------------------------- The calls

  function merchantOf(key, options = {}) {
    if (typeof key !== 'string' || !key.trim()) {
      throw new IntegrationError('Please call Stripe() with your publishable key.');
    }
    if (!key.startsWith('pk_')) {
      throw new IntegrationError('You should not use your secret key here. Pass a publishable key (pk_…) instead.');
    }
    const { stripeAccount: account, appearance, onEvent } = options;
    if (onEvent !== undefined && typeof onEvent !== 'function') {
      throw new IntegrationError('Invalid value for Stripe(): onEvent should be a function.');
    }
    // In a task of its own, so that a mistake in the merchant's listener is reported and does no harm here.
    const report = (name, metadata = {}) => onEvent && queueMicrotask(() => onEvent({ name, metadata }));
    return { key, account, appearance, report };
  }

  function secretOf(name, options) {
    const secret = options?.clientSecret;
    if (typeof secret === 'string' && secret) return secret;
    throw new IntegrationError(`${name}: expected an object with a clientSecret, the client_secret of a Session.`);
  }

  /** Runs the flow; answers {session} or {error} and never rejects. */
  async function collect(merchant, clientSecret) {
    if (flowIsOpen) {
      const message = 'Another flow is open in this page. Wait until it has ended.';
      return { error: { type: 'validation_error', code: 'flow_already_open', message } };
    }
    flowIsOpen = true;
    try {
      const modal = new Modal(merchant, clientSecret);
      modal.open();
      merchant.report('open');
      const outcome = await modal.outcome;
      if (outcome.type === 'failed') return { error: asStripeError(outcome.error) };
      return { session: await receipt(merchant, clientSecret) };
    } catch (problem) {
      return { error: asStripeError(problem) };
    } finally {
      flowIsOpen = false;
    }
  }

  function calls(merchant) {
    const refuse = (name) => async () => {
      return { error: { type: 'invalid_request_error', message: `${name} ${NOT_SERVED}` } };
    };
    return {
      collectFinancialConnectionsAccounts(options) {
        const secret = secretOf('collectFinancialConnectionsAccounts', options);
        return collect(merchant, secret)
          .then(({ session, error }) => (error ? { error } : { financialConnectionsSession: session }));
      },
      collectBankAccountToken(options) {
        const secret = secretOf('collectBankAccountToken', options);
        return collect(merchant, secret).then(({ session, error }) => {
          if (error) return { error };
          const token = session.bank_account_token;
          return { financialConnectionsSession: session, ...(token ? { token } : {}) };
        });
      },
      collectBankAccountForPayment: refuse('collectBankAccountForPayment'),
      collectBankAccountForSetup: refuse('collectBankAccountForSetup'),
    };
  }

  function absent(name) {
    return () => { throw new IntegrationError(`${name} ${NOT_SERVED}`); };
  }

  function Stripe(publishableKey, options) {
    const stripe = calls(merchantOf(publishableKey, options));
    for (const name of ['elements', 'createToken', 'createPaymentMethod', 'confirmCardPayment']) {
      stripe[name] = absent(name);
    }
    // What the loader of @stripe/stripe-js and the React package call; they have nothing to tell us.
    stripe._registerWrapper = () => {};
    stripe.registerAppInfo = () => {};
    return stripe;
  }

  Stripe.version = 'dahlia';

  /** Gives an instance of Stripe.js our four calls, for a page that needs the rest of Stripe.js too. */
  Stripe.install = (instance, publishableKey = script.dataset.publishableKey ?? instance?._apiKey, options = {}) => {
    if (!instance) throw new IntegrationError('Stripe.install: expected an instance made by Stripe.js.');
    return Object.assign(instance, calls(merchantOf(publishableKey, options)));
  };

  window.Linkspan = Stripe;
  window.Stripe ??= Stripe;
})();
