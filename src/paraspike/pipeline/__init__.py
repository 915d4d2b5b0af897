"""The workflow: configuration, the plan of jobs, code hashes, the notebook runner, estimates."""
