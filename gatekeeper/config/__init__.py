"""The configuration: keys, values and error messages.

- `load`: read the file, apply overrides, check everything, report every problem at once
- `validation`: the check of one section by its model
- `schema`: the sections, their keys, defaults and conflicts
- `section`: the base of every section
- `durations`: the durations of a room, and the bounds within which it works
- `rule_schema`: the keys of [[rule]], and lists of networks from files
- `bearer_token`: the format of the admin API's bearer tokens
- `edge_schema`: the keys of [edge]
- `event_schema`: the keys of [[event]]
- `challenge_keys`: the keys of `challenge*`
- `autotune_keys`: the keys of `autotune*`
- `lane_schema`: the keys of [[lane]]
- `files`: reading the files that the operator names
- `patterns`: globs, regular expressions and sets of networks
- `types`: parsers of single values: durations, rates, addresses, names
- `rate_text`: rates in the format of the file
- `sentinel_url`: the URL of a store behind Sentinels
- `problems`: the wording of problems, `problem; expected …`
- `settings`: keys that operators change while the gate runs, and their overrides
- `restart`: the keys that a running gate cannot change
- `renamed`: renamed keys and values, each with its new name
- `invitation_keys`: the shop's keys for invitations, from their files
- `secrets`: signing secrets and admin tokens, from the configuration or its files
"""
