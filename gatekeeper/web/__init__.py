"""From a request to its response: the one way in, and its exits.

pipeline         facts → route → admit, and what an exit needs of a visit
room_gate        one room on this replica, as the pipeline meets it
facts_reader     the two adapters from a request to its facts
admission        one room on this replica: from a token to Admit, Wait or Deny
outcome          the outcome of a request: Admit, Wait, WaitWithoutPlace or Deny
invited_admission  from an invitation to the place of its person
invitation_redirect  an address that holds an invitation, and the redirect to the one without it
token_choice     which of several tokens counts
credentials      how tokens travel: cookie and X-Queue-Token
added_fields     what the gate adds to a response of the origin, on both paths
address_limit    newcomers counted by address; bounded
pass_uses        requests of each pass under way, and the busiest passes; bounded
last_times       what was done for a visitor a moment ago; bounded
session_ends     the ends of sessions, for connections that outlive a request
lasting_exchanges  what streams counts as use of the session, and ends with it
confirmation     the page of a visitor who walked straight in confirms itself
confirmation_elsewhere  a pass that comes back with a request outside of its room
site_data        `Clear-Site-Data` of the origin, without the loss of the token
handler          the exit of aiohttp's requests
fastpath/        the exit of plain requests
challenges       the challenge of a room: what a visitor solves, and whether a proof solves it
challenge_verifier  asks the provider of a challenge whether a proof solves it
challenge_endpoint  a challenge, and the proof that it is solved
move_endpoint    a place moves to another device: the code, the question, the move
request_body     the short body of a request for an endpoint
endpoints        the exit under /.gatekeeper/
forward_auth     the exit for a proxy that asks before it forwards
draws            the public record of each draw, and its participants
calendar_entries  an opening as a file for calendars
event_status     the event of a room as a visitor sees it
stream           the status as server-sent events
responses        the gate's own responses, from pages and JSON
refusals         responses to requests that no parser accepts
waiting_status   the status of a waiting visitor, and its JSON
cors             which scripts of other origins may read them
message          a response of the gate as a plain value
preview          `gatekeeper preview`: the configured pages with sample data
"""
