"""The pages that visitors and operators read, in the visitor's language.

renderer      Pages: every page and asset; checks all templates at the start
states        the contents of each state, one row per state, for the template and the script
page_state    the type of such a row: texts and contents of a state
state_texts   the rows in the format of the template and the script
problem_states  the rows of pages that no script changes
waiting_view  the data of one visitor for the waiting page, and the range of an estimated wait
event_view    the data of an event for the page: opening, countdown, draw
calendar_file  an opening as a file for calendars (iCalendar)
waiting_page  the waiting page by one template: rendered once, filled in for each visitor
templates     Jinja environments, one per language; mustache: templates made for Cloudflare
cloudflare    the variables and JSON of Cloudflare Waiting Room
composer      page skeletons and their gzip; slots: a visitor's values while a template renders
qr_code       a text as a QR code for an SVG image
content_policy  the Content-Security-Policy of a page
content       a page as bytes, plain or gzipped
languages     language negotiation, catalogues, and formats of numbers, spans and times
client_script `client.js` for single-page apps, per language
assets        static files under hashed names
samples       sample views for testing templates and for previews
"""
