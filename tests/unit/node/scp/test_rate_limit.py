from node.scp.rate_limit import Restraint


def test_each_address_has_its_own_measure():
    restraint = Restraint(3)
    assert [restraint.allows("10.0.0.7") for _ in range(5)] == [True] * 3 + [False] * 2
    assert restraint.allows("10.0.0.8")


def test_after_a_while_it_is_forgotten(poll):
    restraint = Restraint(1, seconds=0.1)
    assert restraint.allows("10.0.0.7") and not restraint.allows("10.0.0.7")
    poll(lambda: restraint.allows("10.0.0.7"), what="the end of the restraint")
