"""The MCP surface of the sandbox SDK: server, transports, command line. It imports nothing here,
so that `sandbox-mcp --help` is quick; take names from the modules:

    mcp_server.server.SandboxServer        the server object, for any transport of the `mcp` package
    mcp_server.extension.ServerExtension   what an extension is
    mcp_server.web.create_app              the HTTP application
"""
