"""The objects of the crash suite: every UID is used once, and the record of each object agrees with its file."""

from itertools import chain

from e2e.crash.studies import digest_of_file, write_studies
from e2e.crash.study_plan import Item, Scenario, Timing, Version, make_plans
from pydicom import dcmread


def test_only_a_variant_shares_a_uid(tmp_path):
    studies = write_studies(make_plans(len(Scenario) + 12, 1, Timing()), tmp_path, 1)
    assert {study.plan.scenario for study in studies} == set(Scenario)
    objects = list(chain.from_iterable(study.objects.items() for study in studies))
    own = [sent.sop_uid for item, sent in objects if item.version is not Version.VARIANT]
    series = [uid for study in studies for uid in study.series_uids]
    assert len(own) == len(set(own)) == sum(item.version is not Version.VARIANT for item, _ in objects)
    assert len(series) == len(set(series))
    assert len({sent.sha256 for _, sent in objects}) == len(objects)
    for study in studies:
        for item, sent in study.objects.items():
            if item.version is Version.VARIANT:
                assert study.objects[Item(item.series, item.index)].sop_uid == sent.sop_uid


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    plans = make_plans(3, 5, Timing())
    first, second = (write_studies(plans, tmp_path / name, 5) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert {item: sent.sha256 for item, sent in one.objects.items()} == {
            item: sent.sha256 for item, sent in other.objects.items()
        }


def test_the_record_of_an_object_agrees_with_its_file(tmp_path):
    [study] = write_studies(make_plans(1, 1, Timing()), tmp_path, 1)
    for item, sent in study.objects.items():
        ds = dcmread(sent.path)
        assert (ds.SOPInstanceUID, ds.SeriesInstanceUID) == (sent.sop_uid, study.series_uids[item.series])
        assert ds.StudyInstanceUID == study.uid
        assert sent.sha256 == digest_of_file(sent.path)
