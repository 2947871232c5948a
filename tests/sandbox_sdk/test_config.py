"""Settings: arguments before environment before defaults."""

from pathlib import Path

from sandbox_sdk import Settings


def test_arguments_win_over_the_environment() -> None:
    environment = {"SANDBOX_STATE_DIR": "/from/env", "SANDBOX_ENGINE": "from-env"}

    settings = Settings.load(environment, state_dir="/given", engine="given")

    assert (Path("/given"), "given") == (settings.state_dir, settings.engine)
    assert settings.state_url == "sqlite:////given/state.db"


def test_the_environment_wins_over_defaults() -> None:
    settings = Settings.load(
        {
            "SANDBOX_STATE_DIR": "/from/env",
            "SANDBOX_STATE_URL": "postgresql://db",
            "SANDBOX_ENGINE": "in_process",
            "SANDBOX_IMAGE": "mine:1",
        }
    )

    assert Settings(Path("/from/env"), "postgresql://db", "in_process", "mine:1") == settings


def test_without_anything_docker_runs_and_the_state_lies_where_it_belongs() -> None:
    settings = Settings.load({"XDG_STATE_HOME": "/xdg"})

    assert (settings.engine, settings.image) == ("docker", None)
    assert settings.state_dir in (Path("/var/lib/sandbox-sdk"), Path("/xdg/sandbox-sdk"))
