"""How a command runs: exit status, whole files, progress, processes, a cluster."""
