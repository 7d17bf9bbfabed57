"""The configuration: what operators may set, and how a mistake is reported.

- `load`: read the file, apply overrides, check everything, report every problem at once
- `validation`: the check of one section by its model
- `schema`: the sections, their keys, defaults and conflicts
- `section`: what every section has in common
- `durations`: the durations of a room, and the bounds beyond which it cannot work
- `rule_schema`: the keys of [[rule]], and lists of networks from files
- `bearer_token`: the spelling of the admin API's bearer tokens
- `edge_schema`: the keys of [edge]
- `event_schema`: the keys of [[event]]
- `challenge_keys`: the keys of `challenge*`
- `autotune_keys`: the keys of `autotune*`
- `lane_schema`: the keys of [[lane]]
- `files`: reading the files that the operator names
- `patterns`: globs, regular expressions and sets of networks
- `types`: the spelling of single values: durations, rates, addresses, names
- `rate_text`: rates as a file spells them
- `sentinel_url`: the URL of a store behind Sentinels
- `problems`: the wording of problems, `problem; expected …`
- `settings`: keys that operators change while the gate runs, and their overrides
- `restart`: the keys that a running gate cannot change
- `renamed`: old keys and values, each with its name of today
- `invitation_keys`: the shop's keys for invitations, from their files
- `secrets`: signing secrets and admin tokens, from the configuration or its files
"""
