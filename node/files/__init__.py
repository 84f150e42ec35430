"""Received objects and results on disk: written durably, reconciled with the ledger, removed when due."""
