"""Databases of sandboxes: permission compiled into the engine, credentials kept on the host.

The flow: `access` says what a sandbox may do; a `Provisioner` (one per database, with the
operator's credentials) makes a copy and a restricted principal for each sandbox; a worker process
(one per sandbox, with that principal's credential only) runs what the model asks for.
"""
