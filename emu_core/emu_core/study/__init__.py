"""A whole study: every row of the paper's tables, trained, scored and told.

- `config`: what a study's YAML says.
- `rows`: the methods that are compared, and which networks each of them needs.
- `plan`: the order of trainings and scorings, the most valuable first.
- `cost`: seconds per image, measured or given, and the hours that follow.
- `copies`: reduced copies of the drives, those of the encoder's pre-training apart.
- `records`: what each network was trained with and from, and which training failed.
- `execution`: does what is not done yet; kill it and start it again.
- `summary`, `claims`, `document`, `origin`: study.json, the paper's claims, study.md, and how it
  was made.
"""
