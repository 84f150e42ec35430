"""The paper's protocol: judging and training networks on a folder of cases with known truth."""
