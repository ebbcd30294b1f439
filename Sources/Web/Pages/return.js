// The last page of a bank's window: goes on in this tab where the flow was left in it, else closes the window, else
// leads back into the app. It promises to do the first of these that it can, and to leave the page readable where it
// can none, or where it says something that the flow does not know.

const SAME_TAB_SLOT = 'linkspan-flow-left';
const CLOSING_MS = 500;

function flowWasLeftHere() {
  try {
    const left = window.sessionStorage.getItem(SAME_TAB_SLOT);
    window.sessionStorage.removeItem(SAME_TAB_SLOT);
    return left !== null;
  } catch {
    return false;
  }
}

if (flowWasLeftHere()) {
  window.location.replace('/flow');
} else if (document.querySelector('[data-outcome=unknown]') === null) {
  window.close();
  const address = document.body.dataset.returnTo;
  // A window that a script may not close is still here by then: it was opened by an app.
  if (address) setTimeout(() => window.location.assign(address), CLOSING_MS);
}
