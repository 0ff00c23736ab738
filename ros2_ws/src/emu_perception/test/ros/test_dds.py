"""The shared-memory segment of a process, for its environment variables."""

import pytest

from emu_perception.ros import dds


def test_our_profile_has_a_segment_of_64_mib():
    assert dds.segment_size(dds.environment({})) == 64 << 20


@pytest.mark.parametrize("content", ["<dds/>", "no xml", None])
def test_without_a_size_in_the_profile_the_segment_is_fast_dds_s_default(tmp_path, content):
    path = tmp_path / "user.xml"
    if content is not None:
        path.write_text(content)
    assert dds.segment_size({"FASTRTPS_DEFAULT_PROFILES_FILE": str(path)}) == 512 * 1024
    assert dds.segment_size({}) == 512 * 1024


def test_a_profile_of_the_user_replaces_ours(tmp_path):
    path = tmp_path / "user.xml"
    path.write_text("<dds xmlns='urn:x'><a><segment_size> 1000000 </segment_size></a></dds>")
    given = {"FASTDDS_DEFAULT_PROFILES_FILE": str(path)}
    assert dds.environment(given) == {}
    assert dds.segment_size(given) == 1_000_000
