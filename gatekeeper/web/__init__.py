"""From a request to its response: the pipeline, and its exits.

pipeline         facts → route → admit, and the data of a visit for its exit
room_gate        one room on this replica, as the pipeline uses it
facts_reader     the two adapters from a request to its facts
admission        one room on this replica: from a token to Admit, Wait or Deny
outcome          the outcome of a request: Admit, Wait, WaitWithoutPlace or Deny
invited_admission  from an invitation to the place of its person
invitation_redirect  an address that holds an invitation, and the redirect to the one without it
token_choice     which of several tokens counts
credentials      how tokens are carried: cookie and X-Queue-Token
added_fields     the fields that the gate adds to a response of the origin, on both paths
address_limit    newcomers counted by address; bounded
pass_uses        requests in flight of each pass, and the busiest passes; bounded
last_times       when something was last done for a visitor; bounded
session_ends     the ends of sessions, for connections that outlive a request
lasting_exchanges  long exchanges count as use of the session, and end with it
confirmation     the page of a visitor who went straight through confirms itself
confirmation_elsewhere  confirms a pass by a request outside of its room
site_data        `Clear-Site-Data` of the origin, without the loss of the token
handler          the exit of aiohttp's requests
fastpath/        the exit of plain requests
challenges       the challenge of a room, and the verification of its proofs
challenge_verifier  verifies a proof by the API of the challenge's provider
challenge_endpoint  `GET` and `POST challenge`
move_endpoint    moves a place to another device: the code, the confirmation page, the move
request_body     the short body of a request for an endpoint
endpoints        the exit under /.gatekeeper/
forward_auth     the exit for a proxy that asks before it forwards
draws            the public record of each draw, and its participants
calendar_entries  an opening as a file for calendars
event_status     the event of a room as a visitor sees it
stream           the status as server-sent events
responses        the gate's own responses, from pages and JSON
refusals         responses to malformed requests
waiting_status   the status of a waiting visitor, and its JSON
cors             CORS: which other origins may read them
message          a response of the gate as a plain value
preview          `gatekeeper preview`: the configured pages with sample data
"""
