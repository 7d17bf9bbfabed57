/* The page: its data, and the row of what its state shows (gatekeeper/pages/states.py). */
const root = document.documentElement;
const data = root.dataset;
const rows = JSON.parse(data.states);
const row = () => rows[data.state];
const isPolling = () => row().poll === "interval";
const byId = (id) => document.getElementById(id);
