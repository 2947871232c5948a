"""What may leave a sandbox: the policy, the proxy that holds it, the log of its decisions."""
