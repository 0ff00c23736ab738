"""Which shared-memory segment a process sends through, by its environment."""

import pytest

from emu_perception.ros import dds


def test_our_profile_s_segment_is_64_mib():
    assert dds.segment_size(dds.environment({})) == 64 << 20


def test_without_a_profile_it_is_fast_dds_s_own():
    assert dds.segment_size({}) == 512 * 1024


@pytest.mark.parametrize("content", ["<dds/>", "no xml", None])
def test_a_profile_that_tells_none_leaves_fast_dds_s_own(tmp_path, content):
    path = tmp_path / "user.xml"
    if content is not None:
        path.write_text(content)
    given = {"FASTRTPS_DEFAULT_PROFILES_FILE": str(path)}
    assert dds.segment_size(given) == dds.STOCK_SEGMENT


def test_a_user_s_profile_counts_in_our_place(tmp_path):
    path = tmp_path / "user.xml"
    path.write_text("<dds xmlns='urn:x'><a><segment_size> 1000000 </segment_size></a></dds>")
    given = {"FASTDDS_DEFAULT_PROFILES_FILE": str(path)}
    assert dds.environment(given) == {}
    assert dds.segment_size(given) == 1_000_000
