from node.scp.rate_limit import RateLimit


def test_each_address_has_its_own_limit():
    rate_limit = RateLimit(3)
    assert [rate_limit.allows("10.0.0.7") for _ in range(5)] == [True] * 3 + [False] * 2
    assert rate_limit.allows("10.0.0.8")


def test_the_count_starts_again_after_the_period(poll):
    rate_limit = RateLimit(1, seconds=0.1)
    assert rate_limit.allows("10.0.0.7") and not rate_limit.allows("10.0.0.7")
    poll(lambda: rate_limit.allows("10.0.0.7"), what="the end of the period")
