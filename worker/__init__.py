"""The workers: they claim jobs and deliveries from the ledger, run them and record the results."""
