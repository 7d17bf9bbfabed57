"""The admin listener: API, metrics and control room for the operators of one process group.

| file | owns |
|---|---|
| `listener.py` | the application: routes, errors, security headers |
| `admin_connections.py` | the connections of the listener: few, and none idle for long |
| `auth.py` | bearer tokens, roles, and loopback access without a token |
| `wrong_tokens.py` | wrong tokens by address: five a minute |
| `actions.py` | the `POST`s: allow, rate, mode, message |
| `support_actions.py` | one visitor: `GET /admin/find`, `POST /admin/admit` and `/admin/revoke` |
| `configuration.py` | `GET` and `POST /admin/settings`, and `POST /admin/reload` |
| `event_actions.py` | `GET`, `POST` and `DELETE /admin/events` |
| `admin_input.py` | JSON bodies and query parameters, duplicate names are refused |
| `recorder.py` | runs changes, and records each in the audit log |
| `rooms.py` | the rooms by name, and their JSON |
| `rule_list.py` | `GET /admin/rules`: the rules in force, with their numbers of matches |
| `audit.py` | the audit log: every change and every refused attempt |
| `audit_files.py` | its files: appended, synced, rotated |
| `draw_entries.py` | commitments and draws of rooms in the audit log |
| `monitor.py` | reads rooms and workers each second and keeps an hour of samples |
| `history.py` | rates and quantiles from readings |
| `diagnosis.py` | findings from readings, as sentences: the most urgent first |
| `autotune_status.py` | what autotune measured and did, for operators |
| `edge_status.py` | whether the edge runs, and the certificate of each domain |
| `overview.py` | `GET /admin/overview`: everything that the control room shows |
| `report.py` | a report on a room: period, figures, events and changes |
| `report_endpoint.py` | `GET /admin/report` |
| `report_command.py` | `gatekeeper report` |
| `report_keeper.py` | keeps the minutes: from the monitor's readings to the files |
| `report_sampler.py` | the readings of each second as minutes |
| `report_minutes.py` | one minute of a room, as a line of JSON |
| `report_files.py` | the minutes on disk, a week of them |
| `report_figures.py` | figures from minutes: counts, quantiles, gaps, peaks |
| `report_estimates.py` | the accuracy of the estimated waits |
| `report_page.py` | the report as one HTML file, with `report_style.css` |
| `report_charts.py` | the charts of a report |
| `report_svg.py` | a chart as SVG |
| `report_tables.py` | the report as JSON and CSV |
| `metric_files.py` | the only reader of the workers' metric files |
| `exposition.py` | `GET /metrics`: metric files and rooms as Prometheus text |
| `worker_totals.py` | metric files of one worker as `Figures` for the monitor |
| `console.py` | the API's responses as lines of text |
| `event_commands.py` | `gatekeeper event` |
| `support_commands.py` | `gatekeeper find`, `admit` and `revoke` |
| `setting_commands.py` | `gatekeeper rate`, `mode`, `message`, `set` and `settings` |
| `invite_command.py` | `gatekeeper invite` |
| `command_options.py` | options shared by the commands: file, room, client |
| `api_client.py` | the API's client for the command line |
"""
