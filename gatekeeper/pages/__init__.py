"""The pages that visitors and operators read, in the visitor's language.

renderer      Pages: every page and asset; checks all templates at the start
states        what each state shows, one row per state, for the template and the script
page_state    one such row: what a state says and shows
state_texts   the rows as the template and the script read them
problem_states  the rows of pages that no script changes
waiting_view  what the waiting page shows of one visitor, and the range of an estimated wait
event_view    what it shows of an event: opening, countdown, draw
calendar_file  an opening as a file for calendars (iCalendar)
waiting_page  the waiting page by one template: rendered once, filled in for each visitor
templates     Jinja environments, one per language; mustache: templates made for Cloudflare
cloudflare    the variables and JSON of Cloudflare Waiting Room
composer      page skeletons and their gzip; slots: a visitor's values while a template renders
qr_code       a text as a QR code for an SVG image
content_policy  what a page may load and run
content       a page as bytes, plain or gzipped
languages     which language a visitor reads, its catalogue, numbers, spans and times
client_script `client.js` for single-page apps, per language
assets        static files under hashed names
samples       views that templates are tried with
"""
