"""Responses that come quickly one after another all reach the node as the sender."""

from node.scu.requestor import VERIFICATION, open_association


def test_every_one_of_many_quick_responses_reaches_the_sender(node):
    with open_association(node.peer, "SCANNER", [VERIFICATION], 5) as association:
        assert [association.echo(VERIFICATION) for _ in range(300)] == [0] * 300
