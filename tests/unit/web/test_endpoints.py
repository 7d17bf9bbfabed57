"""The list of endpoints that other parts of the program use."""

from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.explain import OF_ROOMS
from gatekeeper.policy.routing import Router
from gatekeeper.web.endpoints import Endpoints
from gatekeeper.web.pipeline import Pipeline
from gatekeeper.web.responses import Responses


def test_explain_knows_the_endpoints_that_a_rule_may_block() -> None:
    endpoints = Endpoints(Pipeline(Router([]), {}), Responses(Pages()))
    assert endpoints.of_rooms == OF_ROOMS
