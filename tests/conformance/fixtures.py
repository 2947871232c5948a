"""What the official conformance suites ask every server for, as an ordinary server extension.

Fixed names and answers, defined by the suites. Nothing of this is shipped.
"""

from mcp_server.extension import ServerExtension
from tests.conformance import asking, contents, offers, streams

extension = ServerExtension(
    name="conformance fixtures",
    tools=(*contents.TOOLS, *streams.TOOLS, *asking.TOOLS, *asking.LEGACY_TOOLS),
    prompts=(*offers.PROMPTS, asking.PROMPT),
    resources=offers.RESOURCES,
    methods=offers.METHODS,
    on_load=streams.remember,
)
