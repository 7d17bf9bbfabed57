/* What the browser remembers of the room, in storage that it may refuse. */
function key(name) {
  return "gatekeeper:" + data.room + ":" + name;
}

const storage = (name) => (["admitted", "lost", "event"].includes(name) ? sessionStorage : localStorage);

function recall(name) {
  try {
    return JSON.parse(storage(name).getItem(key(name)));
  } catch (error) {
    return null;
  }
}

function remember(name, value) {
  try {
    storage(name).setItem(key(name), JSON.stringify(value));
    return true;
  } catch (error) {
    return false;
  }
}

function forget(name) {
  try {
    storage(name).removeItem(key(name));
  } catch (error) {
    // Then nothing was stored either.
  }
}
