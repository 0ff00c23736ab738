"""A whole study: every method of the paper's tables, trained, scored and reported.

- `config`: a study's settings, and the methods that can be compared.
- `plan`: the jobs, the most valuable first.
- `copies`: reduced copies of the drives, with those of the encoder's pre-training set aside.
- `jobs`: runs one job, in a process of its own.
- `workflow`: runs all jobs with Snakemake, and says what is left.
- `claims`: the paper's claims as comparisons.
- `results`, `document`: everything that was found as one table; tables and plots of it.
"""
