"""A whole study: every method of the paper's tables, trained, scored and reported.

- `config`: a study's settings, and the methods that can be compared.
- `plan`: the jobs, the most valuable first.
- `copies`: copies of the drives at a smaller size, without the drives for the pre-training.
- `jobs`: runs one job in a separate process.
- `workflow`: runs all jobs with Snakemake, and lists the jobs that are left.
- `claims`: the paper's claims as comparisons.
- `results`, `document`: all results in one table; tables and plots of them.
"""
