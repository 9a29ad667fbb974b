"""What verbs, audits and benchmarks share: training, run folders, where tasks run, data sets made of others."""
