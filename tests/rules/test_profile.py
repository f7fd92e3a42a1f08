"""The private profile: who can read it, what wins over it, what it refuses."""

import stat
from pathlib import Path

import pytest

from valetkey.client.credentials import ClientSecret, UserCredential
from valetkey.client.errors import NotAuthenticated, NotFound, ValetkeyError
from valetkey.client.profile import DEFAULT_URL, LooseFile, Profile

URL = "https://valetkey.acme.com"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def kept(environ: dict[str, str]) -> Profile:
    profile = Profile(environ)
    profile.keep_login(URL, credential="vkcl_alice", user="alice@acme.com", gateway=URL)
    return profile


def test_a_login_is_kept_where_only_its_owner_reads(environ: dict[str, str]) -> None:
    profile = kept(environ)
    assert stat.S_IMODE(profile.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(profile.folder.stat().st_mode) == 0o700
    assert profile.url == URL
    assert isinstance(profile.credential(), UserCredential)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_others_can_reach_is_refused(environ: dict[str, str], mode: int) -> None:
    profile = kept(environ)
    profile.path.chmod(mode)
    with pytest.raises(LooseFile, match="others on this machine"):
        profile.credential()


def test_a_folder_others_can_reach_is_refused(environ: dict[str, str]) -> None:
    profile = kept(environ)
    profile.folder.chmod(0o755)
    with pytest.raises(LooseFile):
        profile.credential()


def test_a_link_in_its_place_is_not_followed(environ: dict[str, str], tmp_path: Path) -> None:
    profile = kept(environ)
    elsewhere = tmp_path / "elsewhere"
    profile.path.rename(elsewhere)
    profile.path.symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        profile.credential()


def test_the_environment_wins(environ: dict[str, str]) -> None:
    kept(environ)
    profile = Profile(environ | {"VALETKEY_URL": "http://localhost:9/", "VALETKEY_TOKEN": "ci:vksa_x"})
    assert profile.url == "http://localhost:9"
    proof = profile.credential()
    assert isinstance(proof, ClientSecret)
    assert proof.client_id == "ci"


def test_one_servers_login_is_not_sent_to_another(environ: dict[str, str]) -> None:
    kept(environ)
    with pytest.raises(NotAuthenticated):
        Profile(environ | {"VALETKEY_URL": "https://elsewhere.example"}).credential()


def test_nobody_is_signed_in_at_first(environ: dict[str, str]) -> None:
    profile = Profile(environ)
    assert profile.url == DEFAULT_URL
    with pytest.raises(NotAuthenticated):
        profile.credential()
    assert not profile.drop_login()


def test_an_agents_secret_is_found_by_name_or_id_and_nobody_elses(environ: dict[str, str]) -> None:
    profile = kept(environ)
    profile.keep_agent("linter", agent_id="agt_1", secret="vkag_one")
    assert profile.agent("linter").client_id == profile.agent("agt_1").client_id == profile.agent(None).client_id
    with pytest.raises(NotFound):
        profile.agent("other")
    profile.keep_agent("other", agent_id="agt_2", secret="vkag_two")
    with pytest.raises(NotFound):
        profile.agent(None)


def test_signing_out_keeps_the_agents(environ: dict[str, str]) -> None:
    profile = kept(environ)
    profile.keep_agent("linter", agent_id="agt_1", secret="vkag_one")
    assert profile.drop_login()
    assert profile.saved_agents() == {"linter": "agt_1"}
    with pytest.raises(ValetkeyError):
        profile.credential()
