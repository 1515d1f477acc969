"""A client's environment, or a skip that says what this machine lacks."""

import pytest

from tests.clients import environments


def client(group: str) -> environments.Environment:
    """Give a group's environment, making it if need be; skip where it cannot be made."""
    try:
        return environments.environment(group)
    except environments.EnvironmentUnavailableError as error:
        pytest.skip(str(error))


def program(name: str, package: str) -> str:
    """Give the path of a program; skip with the Debian package that brings it where it is not."""
    try:
        return environments.command(name, package)
    except environments.EnvironmentUnavailableError as error:
        pytest.skip(str(error))
